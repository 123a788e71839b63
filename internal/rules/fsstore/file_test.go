package fsstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/require"
	"bittern/internal/rules/storetest"
)

// TestThingsThatAreNoFiles puts things under a rule file's name that must not be read, each of which is then
// replaced by a rule file.
func TestThingsThatAreNoFiles(t *testing.T) {
	for _, c := range []struct {
		name, problem string
		make          func(path string) error
	}{
		{"x.yaml", "is a directory", func(p string) error { return os.Mkdir(p, 0o700) }},
		{"pipe.yml", "is a named pipe", func(p string) error { return unix.Mkfifo(p, 0o600) }},
		{"socket.yml", "is a socket", func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) }},
		{"device.yml", "is a character device", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }},
		{"disk.yml", "is a block device", func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 255))) }},
		{"null.yml", "is a character device", func(p string) error { return os.Symlink("/dev/null", p) }},
		{"nowhere.yml", "leads nowhere", func(p string) error { return os.Symlink("nothing", p) }},
		{"loop.yml", "too many levels", func(p string) error { return os.Symlink("loop.yml", p) }},
		{"circle.yml", "too many levels", func(p string) error {
			return errors.Join(os.Symlink("circle.yml", p+".2"), os.Symlink("circle.yml.2", p))
		}},
		{"large.yml", "the limit is 1048576", func(p string) error { return os.WriteFile(p, make([]byte, 1<<20+1), 0o600) }},
		// Not to be read into memory, not even a part of it.
		{"huge.yml", "file has 68719476736 bytes", func(p string) error {
			return errors.Join(os.WriteFile(p+".tmp", nil, 0o600), os.Truncate(p+".tmp", 64<<30), os.Rename(p+".tmp", p))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, brief, two())
			sub := f.Changes()
			err := c.make(f.file(c.name))
			if errors.Is(err, unix.EPERM) {
				require.Root(t) // devices need it
			}
			must(t, err)
			storetest.Expect(t, sub, "rejected")
			storetest.WantProblem(t, f, c.name, c.problem)
			// A further event for the same thing is no news.
			f.Rename(t, c.name, "moved")
			f.Rename(t, "moved", c.name)
			storetest.Quiet(t, f, sub)
			f.Rename(t, c.name, "moved")
			f.Put(t, c.name, storetest.Text("R3", 1))
			storetest.Expect(t, sub, "definition R3 v1")
			storetest.Quiet(t, f, sub)
			storetest.WantLive(t, f, "R1v1 R2v1 R3v1")
			storetest.WantProblem(t, f, c.name, "")
			f.wantLog(t)
		})
	}
}

// TestVanishingBeforeTheRead takes files away whose events wait to be read.
func TestVanishingBeforeTheRead(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, f *fixture, name string){
		"removed": func(t *testing.T, f *fixture, name string) { f.Remove(t, name) },
		"renamed": func(t *testing.T, f *fixture, name string) { f.Rename(t, name, name+"~") },
		"moved": func(t *testing.T, f *fixture, name string) {
			must(t, os.Rename(f.file(name), filepath.Join(f.stage, name)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir(), brief)
			fill(t, cfg.Dir, two())
			f, resume := holding(t, cfg)
			sub := f.Changes()
			f.Put(t, "a.yml", storetest.Text("R1", 2))
			f.Put(t, "c.yml", storetest.Text("R3", 1))
			inPlace{f}.Put(t, "d.yml", storetest.Text("R4", 1))
			for _, file := range []string{"a.yml", "c.yml", "d.yml"} {
				take(t, f, file)
			}
			resume()
			storetest.Expect(t, sub, "definition HOLD v1", "deleted R1")
			storetest.Quiet(t, f, sub)
			if got := f.Problems(); got != nil {
				t.Errorf("problems are %+v", got)
			}
			f.wantLog(t)
		})
	}
}

// TestVanishedWithoutAnEventYet has only the first event of two: what the second says is not guessed.
func TestVanishedWithoutAnEventYet(t *testing.T) {
	l := begun(t)
	must(t, os.Remove(filepath.Join(l.path, "a.yml")))
	written := inotify.Batch{At: time.Now()}
	for _, name := range []string{"a.yml", "c.yml"} {
		written.Events = append(written.Events, inotify.Event{Watch: l.root.watch, Mask: unix.IN_CLOSE_WRITE, Name: name})
	}
	must(t, l.handle(written))
	if len(l.vanished) > 0 || len(l.busy) > 0 || l.store.Problems() != nil {
		t.Errorf("vanished %v, busy %v, problems %+v", l.vanished, l.busy, l.store.Problems())
	}
	removed, err := l.queued()
	must(t, err)
	must(t, l.handle(removed))
	if _, ok := l.vanished["a.yml"]; !ok || len(l.vanished) != 1 {
		t.Errorf("vanished %v", l.vanished)
	}
}

func TestEmptyFilesAreFilledLater(t *testing.T) {
	f := start(t, endless, two())
	sub := f.Changes()
	f.run(t, "sh", "-ec", "touch c.yml; : > a.yml")
	f.Put(t, "fence.yml", storetest.Text("FENCE", 1))
	storetest.Expect(t, sub, "definition FENCE v1")
	storetest.WantLive(t, f, "FENCEv1 R1v1 R2v1")
	storetest.WantProblem(t, f, "c.yml", "")
	storetest.WantProblem(t, f, "a.yml", "file is empty", "R1")
	must(t, os.WriteFile(filepath.Join(f.stage, "c"), []byte(storetest.Text("R3", 1)), 0o600))
	must(t, os.WriteFile(filepath.Join(f.stage, "a"), []byte(storetest.Text("R1", 2)), 0o600))
	f.run(t, "sh", "-ec", `cat "$0"/c >> c.yml; cat "$0"/a >> a.yml`, f.stage)
	storetest.Expect(t, sub, "definition R3 v1", "definition R1 v2")
	f.undisturbed(t, sub, "FENCEv1 R1v2 R2v1 R3v1")
}

// TestTeeWritesInPieces feeds tee line by line. It has the file open all that time, and closes it at the end.
func TestTeeWritesInPieces(t *testing.T) {
	f := start(t, endless, two())
	sub := f.Changes()
	tee := exec.CommandContext(t.Context(), require.Tool(t, "tee"), "a.yml")
	tee.Dir = f.dir
	in, err := tee.StdinPipe()
	must(t, err)
	out, err := tee.StdoutPipe()
	must(t, err)
	must(t, tee.Start())
	text := storetest.Join(storetest.Text("R1", 2), storetest.Text("R3", 1))
	for i := range 8 {
		piece := text[len(text)*i/8 : len(text)*(i+1)/8]
		_, err := in.Write([]byte(piece))
		must(t, err)
		_, err = out.Read(make([]byte, len(piece))) // so it has the piece
		must(t, err)
		f.Put(t, "fence.yml", storetest.Text("FENCE", i+1))
		storetest.Expect(t, sub, fmt.Sprintf("definition FENCE v%d", i+1))
		storetest.WantLive(t, f, fmt.Sprintf("FENCEv%d R1v1 R2v1", i+1))
	}
	must(t, in.Close())
	must(t, tee.Wait())
	storetest.Expect(t, sub, "definition R1 v2", "definition R3 v1")
	f.undisturbed(t, sub, "FENCEv8 R1v2 R2v1 R3v1")
}

func TestTimeOfAFileDoesNotMatter(t *testing.T) {
	f := start(t, endless, two())
	sub := f.Changes()
	for version := 2; version < 8; version++ {
		rewrite(t, f.file("a.yml"), storetest.Text("R1", version))
		storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", version))
	}
	for _, when := range []time.Time{time.Unix(0, 0), time.Now().Add(time.Hour)} {
		must(t, os.Chtimes(f.file("a.yml"), when, when)) // which is no edit
	}
	f.undisturbed(t, sub, "R1v7 R2v1")
}
