package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// classRule returns a rule for a class.
func classRule(id, class, match string) string {
	return fmt.Sprintf(`rule_id: %s
rule_version: 1
name: of a class
applies_to: [%s]
match: {%s}
emits: [{tactic: TA0006, technique_id: T1003, confidence: 0.5}]
`, id, class, match)
}

// classRecord is what the classes add to a record.
type classRecord struct {
	Rule    struct{ ID string }
	Event   struct{ Action string }
	Process struct {
		PID      int
		Name     string
		ExitCode *int `json:"exit_code"`
		Uptime   *int
		End      string
	}
	File        struct{ Path, Name, Directory string }
	Destination struct {
		Address, IP string
		Port        uint16
	}
	Network struct{ Transport, Type, Direction string }
	// Bittern's own.
	Bittern struct {
		Open       []string
		ExitSignal int `json:"exit_signal"`
	}
}

// TestEachClass adds a rule of each class while the agent runs, so that hooks are
// attached on demand, and sees what is reported of one program's life.
func TestEachClass(t *testing.T) {
	cg, dir, files := newCgroup(t), t.TempDir(), t.TempDir()
	secret := filepath.Join(files, "class secret")
	write(t, secret, "hidden\n")
	peers := listen(t)
	program := called(t, self(t), "connect")
	p := start(t, "--rules", dir, "--cgroup", cg.path)
	for id, content := range map[string]string{
		"EXEC":    classRule("EXEC", "process_exec", "a: {process.name: cat}"),
		"EXIT":    classRule("EXIT", "process_exit", "a: {process.name: cat, process.exit_code: 0}"),
		"KILL":    classRule("KILL", "process_exit", "a: {process.exit_signal: 9}"),
		"READ":    classRule("READ", "file_open", "a: {file.name: class secret, file.open.read: true, file.open.write: false}"),
		"WRITE":   classRule("WRITE", "file_open", "a: {file.path|startswith: "+files+", file.open.write: true, file.open.truncate: true}"),
		"CONNECT": classRule("CONNECT", "network_connect", "a: {destination.port: "+ports(peers)+", destination.ip|cidr: [127.0.0.0/8, '::1/128'], network.transport: tcp}"),
	} {
		write(t, filepath.Join(dir, id+".yml"), content)
		p.logged(t, "rule live", "rule_id", id)
	}
	cat := cg.run(t, "/bin/cat", secret)
	sh := cg.run(t, "/bin/sh", "-c", `: > "$0"`, secret+"2")
	killed := cg.killed(t)
	connected := make([]int, len(peers))
	for i, peer := range peers {
		connected[i] = cg.run(t, program, "udp", peer.String(), "tcp", peer.String())
	}
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}

	zero := 0
	read, written := classRecord{}, classRecord{}
	read.File.Path, read.File.Name, read.File.Directory, read.Bittern.Open = secret, "class secret", files, []string{"read"}
	written.File.Path, written.File.Name, written.File.Directory = secret+"2", "class secret2", files
	written.Bittern.Open = []string{"write", "create", "truncate"}
	exit, kill := classRecord{}, classRecord{}
	exit.Process.ExitCode, kill.Bittern.ExitSignal = &zero, 9
	want := map[string]classRecord{
		fmt.Sprint("EXEC process_exec ", cat):    {},
		fmt.Sprint("READ file_open ", cat):       read,
		fmt.Sprint("EXIT process_exit ", cat):    exit,
		fmt.Sprint("WRITE file_open ", sh):       written,
		fmt.Sprint("KILL process_exit ", killed): kill,
	}
	for i, peer := range peers {
		r := classRecord{}
		r.Destination.Address, r.Destination.IP, r.Destination.Port = peer.Addr().String(), peer.Addr().String(), peer.Port()
		r.Network.Transport, r.Network.Type, r.Network.Direction = "tcp", "ipv4", "egress"
		if peer.Addr().Is6() {
			r.Network.Type = "ipv6"
		}
		want[fmt.Sprint("CONNECT network_connect ", connected[i])] = r
	}
	got := make(map[string]classRecord)
	for _, line := range output {
		var r classRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		key := fmt.Sprint(r.Rule.ID, " ", r.Event.Action, " ", r.Process.PID)
		if _, twice := got[key]; twice {
			t.Errorf("%s is reported twice", key)
		}
		if ended := r.Event.Action == "process_exit"; ended != (r.Process.End != "") || ended != (r.Process.Uptime != nil) {
			t.Errorf("%s: process.end %q, uptime %v", key, r.Process.End, r.Process.Uptime)
		}
		if r.Process.Name == "" {
			t.Errorf("%s: the process has no name: %s", key, line)
		}
		r.Rule.ID, r.Event.Action = "", ""
		r.Process.PID, r.Process.Name, r.Process.End, r.Process.Uptime = 0, "", "", nil
		got[key] = r
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// listen listens on the loopback addresses, and returns them.
func listen(t *testing.T) []netip.AddrPort {
	t.Helper()
	addresses := []string{"127.0.0.1:0"}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil { // otherwise the host has no IPv6
		addresses = append(addresses, "[::1]:0")
	}
	var peers []netip.AddrPort
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		peers = append(peers, netip.MustParseAddrPort(l.Addr().String()))
	}
	return peers
}

// ports lists the ports of peers as a rule wants them.
func ports(peers []netip.AddrPort) string {
	var list []string
	for _, p := range peers {
		list = append(list, fmt.Sprint(p.Port()))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// TestRulesThatShipAreAllTaken: what ships must find a hook and room wherever the
// agent runs.
func TestRulesThatShipAreAllTaken(t *testing.T) {
	cg := newCgroup(t)
	files, err := filepath.Glob("../../rules/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the rules: %v, %d found", err, len(files))
	}
	dir := t.TempDir()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(file)), string(data))
	}
	p := start(t, "--rules", dir, "--cgroup", cg.path)
	p.logged(t, "bittern is running", "rules", float64(len(files)), "refused", 0.0)
	if code, output := p.stop(t, syscall.SIGTERM); code != 0 || len(output) != 0 {
		t.Errorf("exit code %d, output %q", code, output)
	}
}
