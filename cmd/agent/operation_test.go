package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// change is what the classes that tell operations apart add to a record.
type change struct {
	Event struct {
		Action         string
		Category, Type []string
	}
	File struct {
		Path, Mode string
		TargetPath string `json:"target_path"`
	}
	Source      struct{ IP string }
	Destination struct{ IP string }
	Network     struct{ Transport, Direction string }
	User        struct {
		Changes struct {
			ID        string
			Effective struct{ ID string }
			Group     struct{ ID string }
		}
	}
	Container *struct{ ID string }
	Bittern   struct {
		NewPath                  string `json:"new_path"`
		Capabilities, Namespaces []string
		Target                   struct{ Executable string }
		Mount                    struct{ Source, Type string }
		Kernel                   struct{ Name, Type string }
	}
}

// TestEachOperation adds a rule of each class of changes while the agent runs, and sees what is
// reported of programs that make them. It leaves out what differs from hook to hook: the
// ids before, and whether paths are claimed.
func TestEachOperation(t *testing.T) {
	cg, dir, files, mounts := newCgroup(t), t.TempDir(), t.TempDir(), t.TempDir()
	echo, err := exec.LookPath("cat")
	if err == nil {
		echo, err = filepath.EvalSymlinks(echo)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "--rules", dir, "--cgroup", cg.path)
	for id, content := range map[string]string{
		"FILE":   classRule("FILE", "file_change", "a: {file.path|startswith: "+files+"/}"),
		"LISTEN": classRule("LISTEN", "network_listen", "a: {process.name: act, source.ip: 127.0.0.1}"),
		"IDS":    classRule("IDS", "privilege_change", "a: {privilege.operation: [capset, setgid, setuid], process.name: act}"),
		"SPACES": classRule("SPACES", "privilege_change", "a: {privilege.namespaces: uts}"),
		"MOUNT":  classRule("MOUNT", "privilege_change", "a: {privilege.operation: mount, file.path: "+mounts+"}"),
		"TRACE":  classRule("TRACE", "privilege_change", "a: {privilege.operation: ptrace, privilege.target.executable: "+echo+"}"),
		"KERNEL": classRule("KERNEL", "kernel_change", "a: {kernel.name: bittern_test}"),
	} {
		write(t, filepath.Join(dir, id+".yml"), content)
		p.logged(t, "rule live", "rule_id", id)
	}
	want := make(map[string]change)
	program := called(t, self(t), "act")
	acts := func(argument, what string, operations ...string) {
		pid := cg.run(t, program, what, argument)
		for _, words := range operations { // rule, class, category, type, operation
			w := strings.Fields(words)
			c := change{}
			c.Event.Action, c.Event.Category, c.Event.Type = w[1], w[2:3], strings.Split(w[3], ",")
			want[fmt.Sprint(w[0], " ", w[4], " ", pid)] = c
		}
	}
	expect := func(id, operation string, add func(*change)) {
		t.Helper()
		for key, c := range want {
			if strings.HasPrefix(key, id+" "+operation) {
				add(&c)
				want[key] = c
			}
		}
	}
	acts(files, "files", "FILE file_change file creation create", "FILE file_change file change chmod", "FILE file_change file change truncate",
		"FILE file_change file change rename", "FILE file_change file creation symlink", "FILE file_change file deletion unlink")
	acts("", "listen", "LISTEN network_listen network info bind", "LISTEN network_listen network info listen",
		"LISTEN network_listen network connection,start accept")
	acts("", "identity", "IDS privilege_change process change capset", "IDS privilege_change process change setgid",
		"IDS privilege_change process change setuid")
	acts(mounts, "namespaces", "SPACES privilege_change process change unshare", "SPACES privilege_change process change setns",
		"MOUNT privilege_change process change mount")
	acts(echo, "trace", "TRACE privilege_change process change ptrace")
	acts("bittern_test", "kernel", "KERNEL kernel_change driver start bpf_program")
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}

	expect("FILE", "", func(c *change) { c.File.Path = filepath.Join(files, "made") })
	expect("FILE", "create", func(c *change) { c.File.Mode = "0640" })
	expect("FILE", "chmod", func(c *change) { c.File.Mode = "4755" })
	expect("FILE", "rename", func(c *change) { c.Bittern.NewPath = filepath.Join(files, "renamed") })
	expect("FILE", "unlink", func(c *change) { c.File.Path = filepath.Join(files, "renamed") })
	expect("FILE", "symlink", func(c *change) { c.File.Path, c.File.TargetPath = filepath.Join(files, "link"), "/dev/null" })
	expect("LISTEN", "", func(c *change) { c.Source.IP, c.Network.Transport = "127.0.0.1", "tcp" })
	expect("LISTEN", "accept", func(c *change) { c.Destination.IP, c.Network.Direction = "127.0.0.1", "ingress" })
	expect("IDS", "capset", func(c *change) { c.Bittern.Capabilities = []string{"CAP_SETGID", "CAP_SETUID"} })
	expect("IDS", "setgid", func(c *change) { c.User.Changes.Group.ID = "4711" })
	expect("IDS", "setuid", func(c *change) { c.User.Changes.ID, c.User.Changes.Effective.ID = "4712", "4712" })
	expect("SPACES", "unshare", func(c *change) { c.Bittern.Namespaces = []string{"mnt", "uts"} })
	expect("SPACES", "setns", func(c *change) { c.Bittern.Namespaces = []string{"uts"} })
	expect("MOUNT", "mount", func(c *change) {
		c.File.Path, c.Bittern.Mount.Source, c.Bittern.Mount.Type = mounts, "nothing", "tmpfs"
	})
	expect("TRACE", "ptrace", func(c *change) { c.Bittern.Target.Executable = echo })
	expect("KERNEL", "bpf_program", func(c *change) { c.Bittern.Kernel.Name, c.Bittern.Kernel.Type = "bittern_test", "socket_filter" })
	if diff := cmp.Diff(want, changes(t, output)); diff != "" {
		t.Error(diff)
	}
}

// changes are what was reported, by rule, operation and process.
func changes(t *testing.T, output []string) map[string]change {
	t.Helper()
	got := make(map[string]change)
	for _, line := range output {
		var of struct {
			Rule    struct{ ID string }
			Process struct {
				PID  int
				Name string
			}
			Bittern struct{ Operation string }
		}
		var c change
		for _, to := range []any{&of, &c} {
			if err := json.Unmarshal([]byte(line), to); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
		}
		key := fmt.Sprint(of.Rule.ID, " ", of.Bittern.Operation, " ", of.Process.PID)
		if _, twice := got[key]; twice {
			t.Errorf("%s is reported twice: %s", key, line)
		}
		if of.Process.Name == "" {
			t.Errorf("%s: the process has no name: %s", key, line)
		}
		got[key] = c
	}
	return got
}
