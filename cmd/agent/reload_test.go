package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/control"
)

// count returns how many lines of the log so far have a message and a key.
func (p *process) count(message, key string) (n int) {
	all, _, _ := p.log.snapshot()
	for _, line := range all {
		var found map[string]any
		if json.Unmarshal([]byte(line), &found) == nil && found["msg"] == message && (key == "" || found["key"] == key) {
			n++
		}
	}
	return n
}

// TestConfigurationIsReloaded edits the configuration file of an agent that runs, in ways that editors have.
func TestConfigurationIsReloaded(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), numberedRule("STAYS", 1))
	place := t.TempDir()
	file := filepath.Join(place, "bittern.yaml")
	t.Setenv("BITTERN_CONFIG", file)
	t.Setenv("BITTERN_PROGRAM_STATS", "false")
	base := "metrics: 127.0.0.1:0\noutput: json\n"
	write(t, file, base)
	p := start(t, "--rules", dir, "--cgroup", cg.path, "--rescan", "1h")
	first := p.logged(t, "telling metrics and health")["address"].(string)
	reloaded := func(address, want string) {
		t.Helper()
		if _, body := answer(t, address, "/metrics"); !strings.Contains(body, "\nbittern_config_last_reload_successful "+want+"\n") {
			t.Errorf("bittern_config_last_reload_successful is not %s", want)
		}
	}
	reloaded(first, "1")

	// In place, by renaming, and by an editor that keeps the old file. A key that is removed has its default again.
	write(t, file, base+"log_level: debug\n")
	p.logged(t, "setting changed", "key", "log_level", "from", "info", "to", "debug")
	replace(t, file, base+"log_level: debug\nkeep: true\n")
	p.logged(t, "setting changed", "key", "keep", "from", "false", "to", "true")
	backup(t, file, base+"log_level: warn\n")
	p.logged(t, "setting changed", "key", "keep", "from", "true", "to", "false")
	p.logged(t, "setting changed", "key", "log_level", "from", "debug", "to", "warn")
	sed(t, file, "s/warn/error/")
	replace(t, file, base)
	p.logged(t, "setting changed", "key", "log_level", "to", "info") // from error, or from warn if it reads both edits at once

	// A link that is switched.
	for version, content := range map[string]string{"1": base + "log_level: error\n", "2": base + "log_level: debug\n"} {
		if err := os.Mkdir(filepath.Join(place, version), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(place, version, "bittern.yaml"), content)
	}
	link := func(to, at string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", `ln -s "$1" "$2.new"; mv -T "$2.new" "$2"`, "sh", to, at).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	link("1", filepath.Join(place, "now"))
	link("now/bittern.yaml", file)
	p.logged(t, "setting changed", "key", "log_level", "from", "info", "to", "error")
	link("2", filepath.Join(place, "now"))
	p.logged(t, "setting changed", "key", "log_level", "from", "error", "to", "debug")

	// The form of the output changes between two records.
	cg.execute(t, 1)
	p.out.wait(t, "a record as JSON", func(line string) bool { return strings.HasPrefix(line, "{") && strings.Contains(line, "numbered-1") })
	replace(t, file, strings.Replace(base, "json", "text", 1))
	p.logged(t, "setting changed", "key", "output", "from", "json", "to", "text")
	cg.execute(t, 2)
	p.out.wait(t, "a record as text", func(line string) bool { return !strings.HasPrefix(line, "{") && strings.Contains(line, "numbered-2") })

	// A file that is wrong changes nothing, and all of it is reported.
	write(t, file, base+"log_level: loud\nkeep: true\nslots: 1\n")
	p.logged(t, "configuration rejected, nothing has changed", "problem", file+`:3:12: log_level is "loud": want debug, info, warn or error`)
	p.logged(t, "configuration rejected, nothing has changed", "problem", file+`:5:8: slots is "1": want a whole number from 32 to 65536`)
	reloaded(first, "0")
	write(t, file, base+"keep: true\nstate: /proc/version\n")
	p.logged(t, "configuration rejected, nothing has changed", "problem", file+":4:8: state is /proc/version: it is not a directory")
	if n := p.count("setting changed", "keep"); n != 2 {
		t.Errorf("keep has changed %d times, want 2", n)
	}

	// What needs a restart is said once for each edit, and what else the edit says is done.
	write(t, file, strings.Replace(base, "127.0.0.1:0", "localhost:0", 1)+"slots: 64\n")
	p.logged(t, "setting needs a restart", "key", "slots", "running", "8192", "wanted", "64")
	p.logged(t, "setting changed", "key", "metrics", "from", "127.0.0.1:0", "to", "localhost:0")
	client := control.NewClient(filepath.Join(p.root, "agent.sock"), "")
	defer client.Close()
	if all, err := client.Settings(t.Context()); err != nil {
		t.Error(err)
	} else if s := all["slots"]; s.Value != "8192" || s.Source != "default" || s.Changes != "restart" || s.Wanted == nil || *s.Wanted != "64" {
		t.Errorf("slots is told as %+v", s)
	} else if s := all["rescan"]; s.Value != "1h" || s.Source != "--rescan" || s.Changes != "live" || s.Wanted != nil {
		t.Errorf("rescan is told as %+v", s)
	}
	second := lastAddress(t, p, 2)
	reloaded(second, "1")
	if c, err := net.Dial("tcp", first); err == nil {
		c.Close()
		t.Error("the old address still answers")
	}

	// An address that is taken: the old one stays.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	write(t, file, "metrics: "+taken.Addr().String()+"\nkeep: true\noutput: json\n")
	p.logged(t, "setting can't be changed", "key", "metrics", "running", "localhost:0", "wanted", taken.Addr().String())
	reloaded(second, "1")
	if n := p.count("setting needs a restart", ""); n != 1 {
		t.Errorf("%d times it is said that a restart is needed, want once", n)
	}

	// A flag and the environment come before the file.
	write(t, file, "rescan: 2h\nprogram_stats: true\nmetrics: off\noutput: json\n")
	p.logged(t, "setting changed", "key", "metrics", "from", "localhost:0", "to", "off")
	for _, key := range []string{"rescan", "program_stats", "config", "rules"} {
		if n := p.count("setting changed", key) + p.count("setting needs a restart", key); n != 0 {
			t.Errorf("%s: is said to have changed", key)
		}
	}

	// Without the file, which is named, all stays.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "configuration rejected, nothing has changed", "problem", file+": the configuration can't be read: no such file or directory")
	cg.execute(t, 3)
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 || len(output) != 3 || !strings.HasPrefix(output[2], "{") {
		t.Errorf("exit code %d, output %q; want 0 and 3 records, the last as JSON", code, output)
	}
}

// lastAddress waits until metrics have been told at that many addresses, and returns the last.
func lastAddress(t *testing.T, p *process, n int) (address string) {
	t.Helper()
	seen := 0
	p.log.wait(t, "another address", func(line string) bool {
		var found map[string]any
		if json.Unmarshal([]byte(line), &found) == nil && found["msg"] == "telling metrics and health" {
			address, seen = found["address"].(string), seen+1
		}
		return seen == n
	})
	return address
}

// TestDefaultConfigurationComesLater makes the default file, which was not there, and removes it again.
func TestDefaultConfigurationComesLater(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	p := start(t, "--rules", dir, "--cgroup", cg.path)
	etc := filepath.Join(p.root, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(etc, "bittern.yaml")
	write(t, file, "rescan: 1h\n")
	p.logged(t, "setting changed", "key", "rescan", "from", "5m", "to", "1h")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "setting changed", "key", "rescan", "from", "1h", "to", "5m")
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestHangup has the configuration read again before the agent is ready, while it runs, and while it stops.
func TestHangup(t *testing.T) {
	cg := newCgroup(t)
	p := launch(t, "--cgroup", cg.path, "--metrics", "127.0.0.1:0")
	p.readOutput()
	p.logged(t, "telling metrics and health") // the rules are not loaded yet, or are by now
	hangup := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangup()
	p.logged(t, "bittern is running")
	p.logged(t, "configuration read again")
	hangup()
	seen := 0
	p.log.wait(t, "a second reading", func(line string) bool {
		if strings.Contains(line, "configuration read again") {
			seen++
		}
		return seen == 2
	})
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hangup()
	if code, _ := p.end(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestTerminalIsGone: an agent that was started on a terminal ends with it.
func TestTerminalIsGone(t *testing.T) {
	cg := newCgroup(t)
	master, slave := terminal(t)
	cmd := exec.Command(called(t, self(t), "bittern"), "run", "--cgroup", cg.path, "--log-format", "json", "--rules", t.TempDir())
	cmd.Env = append(os.Environ(), rootVariable+"="+t.TempDir())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the exit code is looked at
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails only if it has ended
		<-ended
	})
	slave.Close()
	log := newLines()
	go log.collect(master)
	p := &process{log: log}
	p.logged(t, "bittern is running")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "configuration read again")
	master.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("it still runs")
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d (%v), want 0", code, cmd.ProcessState)
	}
}

// terminal makes a terminal, and returns both of its ends.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	if ctlErr := conn.Control(func(fd uintptr) {
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		err = errors.Join(err, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
	}); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
