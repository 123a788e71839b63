package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/require"
)

const sandboxVariable = "BITTERN_TEST_SANDBOX"

// sandboxed runs the test once more in a mount namespace of its own. It returns true there.
func sandboxed(t *testing.T) bool {
	t.Helper()
	if os.Getenv(sandboxVariable) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.count=1", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$")
	cmd.Env = append(os.Environ(), sandboxVariable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("\n--- PASS: "+t.Name()+" ")) {
		t.Fatalf("%v:\n%s", err, out)
	}
	return false
}

// A real journald, of a journal of its own, has each record with all fields, by its own protocol and by that of syslog.
func TestJournald(t *testing.T) {
	require.Root(t)
	journald, journalctl := require.Tool(t, "/lib/systemd/systemd-journald"), require.Tool(t, "journalctl")
	if !sandboxed(t) {
		return
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for _, dir := range []string{"/run", "/var/log"} {
		must(t, unix.Mount("nothing", dir, "tmpfs", 0, ""))
	}
	dir := "/run/systemd/journal.bittern"
	must(t, os.MkdirAll("/run/log/journal", 0o755))
	must(t, os.MkdirAll(dir, 0o755))
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/ready", Net: "unixgram"})
	must(t, err)
	defer ready.Close()
	cmd := exec.Command(journald, "bittern")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=/run/ready")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	must(t, ready.SetReadDeadline(time.Now().Add(20*time.Second)))
	for buf := make([]byte, 4096); ; {
		n, err := ready.Read(buf)
		must(t, err)
		if strings.Contains(string(buf[:n]), "READY=1") {
			break
		}
	}

	j, err := NewJournal(JournalConfig{Socket: dir + "/socket"})
	must(t, err)
	batch := records(1, 3)
	batch[1].JSON = bytes.Replace(batch[1].JSON, []byte("xxx"), bytes.Repeat([]byte("x"), 1<<20), 1)
	must(t, j.Deliver(t.Context(), batch))
	must(t, j.Close())
	s := syslogTo(t, SyslogConfig{Address: "unix://" + dir + "/dev-log"})
	must(t, s.Deliver(t.Context(), records(4, 5)))
	must(t, cmd.Process.Signal(syscall.SIGTERM)) // it takes what is in its sockets first
	must(t, cmd.Wait())

	files, err := filepath.Glob("/*/log/journal/*/*.journal")
	must(t, err)
	args := []string{"--no-pager", "--all", "-o", "json", "SYSLOG_IDENTIFIER=bittern"}
	for _, f := range files {
		args = append(args, "--file", f)
	}
	out, err := exec.Command(journalctl, args...).Output()
	must(t, err)
	var native, got []map[string]any // its two sockets are read in any order
	for line := range bytes.Lines(out) {
		entry := map[string]any{}
		must(t, json.Unmarshal(line, &entry))
		if entry["BITTERN_ID"] != nil {
			native = append(native, entry)
		} else {
			got = append(got, entry)
		}
	}
	got = append(native, got...)
	if len(got) != 5 {
		t.Fatalf("%d entries, want 5: %.2000s", len(got), out)
	}
	for i, r := range append(batch, records(4, 5)...) {
		want := map[string]string{"PRIORITY": "3"}
		if i < 3 {
			want["MESSAGE"], want["BITTERN_JSON"] = string(Line(r, false)), string(r.JSON)
			want["BITTERN_ID"], want["BITTERN_KIND"], want["BITTERN_RULE_ID"] = formatID(r.ID), "detection", "BT0001"
		} else {
			want["MESSAGE"], want["SYSLOG_FACILITY"], want["SYSLOG_PID"] = string(r.JSON), "16", fmt.Sprint(os.Getpid())
		}
		for name, value := range want {
			if got[i][name] != value {
				t.Errorf("entry %d: %s is %.200v, want %.200s", i, name, got[i][name], value)
			}
		}
	}
}
