package require

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// recorder notes how a helper ended the test, and ends it the same way for the
// helper: by not returning.
type recorder struct {
	testing.TB
	outcome string
}

func (r *recorder) Helper() {}
func (r *recorder) Skipf(format string, args ...any) {
	r.outcome = "skip: " + fmt.Sprintf(format, args...)
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.outcome = "fail: " + fmt.Sprintf(format, args...)
}

func TestUnmetNeedSkipsOrFails(t *testing.T) {
	for _, tc := range []struct{ list, want string }{
		{"", "skip: needs db"},
		{"root,bpf", "skip: needs db"},
		{"root, db", "fail: needs db"},
		{"dbx", "skip: needs db"},
	} {
		t.Setenv(Variable, tc.list)
		t.Setenv(PostgresVariable, t.TempDir())
		r := &recorder{}
		DB(r)
		if !strings.HasPrefix(r.outcome, tc.want) {
			t.Errorf("%s=%q: got %q, want %q...", Variable, tc.list, r.outcome, tc.want)
		}
	}
}

func TestNewestPostgresIsTaken(t *testing.T) {
	base := t.TempDir()
	for _, v := range []string{"9.6", "15", "14"} {
		bin := filepath.Join(base, v, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"initdb", "postgres"} {
			if err := os.WriteFile(filepath.Join(bin, p), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := newestPostgres(filepath.Join(base, "*", "bin")); err != nil || got != filepath.Join(base, "15", "bin") {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestToolIsLookedFor(t *testing.T) {
	t.Setenv(Variable, "tool")
	r := &recorder{}
	if got := Tool(r, "sh"); got == "" || r.outcome != "" {
		t.Errorf("Tool returned %q, outcome %q", got, r.outcome)
	}
	if Tool(r, "no-such-tool"); !strings.HasPrefix(r.outcome, "fail: needs tool") {
		t.Errorf("got %q", r.outcome)
	}
}

func TestBPFIsTried(t *testing.T) {
	Root(t)
	BPF(t)
	if err := tryBPF(); err != nil {
		t.Errorf("BPF let the test through, yet: %v", err)
	}
}

func TestSharedLooksBesideTheModule(t *testing.T) {
	base := t.TempDir()
	inner := filepath.Join(base, "module", "internal", "x")
	for _, dir := range []string{inner, filepath.Join(base, "shared", "data")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "module", "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	if got, want := Shared(t), filepath.Join(base, "shared", "data"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseMountinfo(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"hybrid", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"escaped", "41 31 0:38 / /mnt/a\\040b rw - cgroup2 none rw\n", "/mnt/a b"},
		{"type in the path only", "41 31 0:38 / /mnt/cgroup2 rw - tmpfs cgroup2 rw\n", ""},
		{"none", "", ""},
	} {
		got, err := parseMountinfo(strings.NewReader(tc.in))
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: got %q, %v", tc.name, got, err)
		}
	}
}

func TestCgroupIsRemovedWithItsProcesses(t *testing.T) {
	Root(t)
	var dir string
	var child *exec.Cmd
	t.Run("inner", func(t *testing.T) {
		dir = Cgroup(t)
		sub := filepath.Join(dir, "sub")
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(sub)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		child = exec.Command("sleep", "3600")
		child.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
	})
	if dir == "" {
		t.Skip("no cgroup v2 here")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if child != nil {
		if err := child.Wait(); err == nil {
			t.Error("the process in the cgroup was not killed")
		}
	}
}
