package fsstore

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bittern/internal/require"
	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// Tools that put files in place, each in its own way. None of them may show a rule as deleted, or as
// changed twice: with an endless grace, a deletion that is announced all the same is an error of the store.

// environ is that of tools: they have a home without settings.
func (f *fixture) environ() []string {
	return append(os.Environ(), "HOME="+f.stage, "XDG_CONFIG_HOME="+f.stage, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
}

// run runs a tool in the rules directory.
func (f *fixture) run(t *testing.T, tool string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), require.Tool(t, tool), args...)
	cmd.Dir, cmd.Env = f.dir, f.environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
}

// undisturbed checks that no further change has come, that nothing is wrong, and that nothing was logged.
func (f *fixture) undisturbed(t *testing.T, sub *rules.Subscription, live string) {
	t.Helper()
	f.Put(t, "zz-fence.yml", storetest.Text("ZZ", 1))
	storetest.Expect(t, sub, "definition ZZ v1")
	storetest.WantLive(t, f, live+" ZZv1")
	if got := f.Problems(); got != nil {
		t.Errorf("problems are %+v", got)
	}
	f.wantLog(t)
	f.Stop() // nothing is put off that would come now
	if c, err := sub.Next(t.Context()); !errors.Is(err, rules.ErrClosed) {
		t.Errorf("then comes %s, %v", storetest.Show(c), err)
	}
}

// strangers are the names in the rules directory that are not rule files'.
func (f *fixture) strangers(t *testing.T) []string {
	t.Helper()
	found, err := os.ReadDir(f.dir)
	must(t, err)
	var names []string
	for _, e := range found {
		if !Accepts(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// toolEdits bring a.yml from version 1 to version 2, which lies as a.yml in the directory ../new.
var toolEdits = map[string]string{
	"sed -i":                  `sed -i 's/rule_version: 1/rule_version: 2/' a.yml`,
	"sed -i with backup":      `sed -i.bak 's/rule_version: 1/rule_version: 2/' a.yml`,
	"vim in batch":            `vim -es -c '%s/rule_version: 1/rule_version: 2/' -c wq a.yml`,
	"emacs in batch":          `emacs --batch a.yml --eval '(progn (search-forward "rule_version: 1") (delete-char -1) (insert "2") (save-buffer))'`,
	"redirection":             `text=$(cat ../new/a.yml); echo "$text" > a.yml`,
	"redirection in pieces":   `text=$(cat ../new/a.yml); echo "$text" | while IFS= read -r line; do echo "$line"; done > a.yml`,
	"touch and redirection":   `text=$(cat ../new/a.yml); touch a.yml; echo "$text" > a.yml`,
	"tee":                     `tee a.yml < ../new/a.yml`,
	"dd over":                 `dd if=../new/a.yml of=a.yml bs=16`,
	"dd in place":             `dd if=../new/a.yml of=a.yml bs=16 conv=notrunc`,
	"cp":                      `cp ../new/a.yml a.yml`,
	"cp of all":               `cp ../new/* .`,
	"cp -p":                   `cp -p ../new/a.yml a.yml`,
	"cp --remove-destination": `cp --remove-destination ../new/a.yml a.yml`,
	"cp --backup":             `cp --backup ../new/a.yml a.yml`,
	"cp -al":                  `cp -alf ../new/. .`,
	"mv":                      `mv ../new/a.yml a.yml`,
	"mv --backup":             `mv --backup ../new/a.yml a.yml`,
	"mv within":               `cp ../new/a.yml a.yml.next; mv a.yml.next a.yml`,
	"mv away and back":        `mv a.yml a.yml.old; cp ../new/a.yml a.yml; rm a.yml.old`,
	"install":                 `install -m 644 ../new/a.yml a.yml`,
	"install -C":              `install -C -m 644 ../new/a.yml a.yml`,
	"install --backup":        `install --backup -m 644 ../new/a.yml a.yml`,
	"install to directory":    `install -m 644 -t . ../new/a.yml ../new/b.yml`,
	"ln -f":                   `ln -f ../new/a.yml a.yml`,
	"ln -sf":                  `ln -sf ../new/a.yml a.yml`,
	"rsync":                   `rsync -a ../new/ .`,
	"rsync --inplace":         `rsync -a --inplace ../new/ .`,
	"rsync --delay-updates":   `rsync -a --delay-updates --delete-delay ../new/ .`,
	"rsync --backup":          `rsync -a --backup ../new/ .`,
	"rsync by checksum":       `touch -r a.yml ../new/a.yml; rsync -a --checksum ../new/ .`,
	"tar x":                   `tar -C ../new -cf ../rules.tar .; tar xf ../rules.tar`,
	"tar x --overwrite":       `tar -C ../new -cf ../rules.tar .; tar xf ../rules.tar --overwrite`,
	"tar x --unlink-first":    `tar -C ../new -cf ../rules.tar a.yml; tar xf ../rules.tar --unlink-first`,
}

// released is when version 2 was written: its size is that of version 1, so by the time rsync knows it.
var released = time.Unix(1_700_000_000, 0)

func TestToolsMakeOneChange(t *testing.T) {
	for name := range toolEdits {
		t.Run(name, func(t *testing.T) { start(t, endless, two()).editedBy(t, name) })
	}
}

// editedBy edits the rules R1 and R2 of a fixture in one of the ways of toolEdits.
func (f *fixture) editedBy(t *testing.T, name string) {
	script := toolEdits[name]
	for word := range strings.FieldsSeq(script) {
		if word == "vim" || word == "emacs" || word == "rsync" {
			require.Tool(t, word)
		}
	}
	fresh := filepath.Join(filepath.Dir(f.dir), "new")
	must(t, os.Mkdir(fresh, 0o755))
	fill(t, fresh, map[string]string{"a.yml": storetest.Text("R1", 2), "b.yml": storetest.Text("R2", 1)})
	must(t, os.Chtimes(filepath.Join(fresh, "a.yml"), released, released))
	sub := f.Changes()
	f.run(t, "sh", "-ec", script)
	storetest.Expect(t, sub, "definition R1 v2")
	f.undisturbed(t, sub, "R1v2 R2v1")
}

// TestMoveFromAnotherFileSystem: mv can't rename then, and copies.
func TestMoveFromAnotherFileSystem(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	f := start(t, endless, two())
	outside := t.TempDir()
	mount(t, "tmpfs", outside, "tmpfs", 0, "size=1m")
	fill(t, outside, map[string]string{"a.yml": storetest.Text("R1", 2)})
	sub := f.Changes()
	f.run(t, "mv", filepath.Join(outside, "a.yml"), ".")
	storetest.Expect(t, sub, "definition R1 v2")
	f.undisturbed(t, sub, "R1v2 R2v1")
}

// TestAnsible makes the calls of Ansible's atomic_move, which copy, template and lineinfile end with.
func TestAnsible(t *testing.T) {
	for name, move := range map[string]func(t *testing.T, f *fixture, source, dest string){
		"in one file system": func(t *testing.T, _ *fixture, source, dest string) {
			must(t, os.Rename(source, dest)) // from ~/.ansible/tmp
		},
		"across file systems": func(t *testing.T, f *fixture, source, dest string) {
			data, err := os.ReadFile(source)
			must(t, err)
			temp, err := os.CreateTemp(f.dir, ".ansible_tmp*"+filepath.Base(dest)) // tempfile.mkstemp
			must(t, err)
			must(t, temp.Close())
			must(t, os.WriteFile(temp.Name(), data, 0o600)) // shutil.copy2
			must(t, os.Chtimes(temp.Name(), released, released))
			must(t, os.Rename(temp.Name(), dest))
			must(t, os.Remove(source))
		},
		"by a device that can't rename": func(t *testing.T, _ *fixture, source, dest string) {
			data, err := os.ReadFile(source) // unsafe_writes
			must(t, err)
			out, err := os.OpenFile(dest, os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			_, err = out.Write(data)
			must(t, errors.Join(err, out.Close()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, endless, two())
			sub := f.Changes()
			source := filepath.Join(f.stage, "ansible-tmp-1764000000.1-1-1", ".source.yml")
			must(t, os.Mkdir(filepath.Dir(source), 0o700))
			must(t, os.WriteFile(source, []byte(storetest.Text("R1", 2)), 0o600))
			dest := f.file("a.yml")
			must(t, os.Chmod(dest, 0o644))
			must(t, os.Chmod(source, 0o644)) // that of the old one
			move(t, f, source, dest)
			must(t, os.Chown(dest, os.Getuid(), os.Getgid()))
			must(t, os.Chmod(dest, 0o640))
			storetest.Expect(t, sub, "definition R1 v2")
			f.undisturbed(t, sub, "R1v2 R2v1")
		})
	}
}
