package event_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"bittern/internal/event"
)

// FuzzOutput puts arbitrary bytes in every string: JSON must be one line of
// printable, valid JSON that gives the bytes back; text must be one line of
// printable text.
func FuzzOutput(f *testing.F) {
	f.Add("curl", "http://198.51.100.7/x", uint64(3), 0.5)
	for _, class := range event.Classes() {
		f.Add("/\xff\\", "\x1b[2J\xc3 x", uint64(class)|3<<20, 0.5)
	}
	f.Add("a\nb\x00\x1b[2J", "\xff\xfe\\x41\\", uint64(math.MaxUint64), math.NaN())
	f.Add("\"", "\u2028\u202e\u009b\U000e0041\ufffd", uint64(0), -1.0)
	f.Add("\xc6\x33\x64\x07", "tcp", uint64(4)|443<<3, 1.0)
	f.Add("\x20\x01\x0d\xb8 20 bytes tot", "udp\x1b", uint64(12), 1.0)
	f.Add(`\`, "\xed\xa0\x80", uint64(1)<<53+1, math.Inf(1))
	f.Fuzz(func(t *testing.T, a, b string, n uint64, confidence float64) {
		d := fuzzed(a, b, n, confidence)
		line := d.AppendJSON(nil)
		checkJSONLine(t, line)
		checkRoundTrip(t, line, d.Event.Class, a, b)
		checkTextLine(t, d.AppendText(nil, false))
		checkTextLine(t, uncoloured(d.AppendText(nil, true)))

		g := &event.Gap{ID: a, Class: event.Class(n), CPUs: []uint32{uint32(n)}, Count: n, Reason: b, Sink: a, Rule: b, Last: d.Event.Time, Host: d.Host}
		checkJSONLine(t, g.AppendJSON(nil))
		checkTextLine(t, g.AppendText(nil, false))
		checkTextLine(t, uncoloured(g.AppendText(nil, true)))

		c := &event.Change{ID: a, Time: d.Event.Time, RuleID: b, Version: int(n), Hash: a, Result: "set", Epoch: n, Error: b, By: a, Host: d.Host,
			State: &event.State{State: b, ConfidenceMax: &confidence, ExpiresAt: d.Event.Time, Reason: a}}
		checkJSONLine(t, c.AppendJSON(nil))
		checkTextLine(t, c.AppendText(nil, false))
		checkTextLine(t, uncoloured(c.AppendText(nil, true)))
	})
}

func fuzzed(a, b string, n uint64, confidence float64) *event.Detection {
	p := event.Process{
		PID: uint32(n), Executable: a, Invoked: b, Args: []string{a, b}, ArgsCount: uint32(n), CommandLine: a + " " + b,
		WorkingDirectory: b, EntityID: a, ExecutableTruncated: n&1 != 0, CommandLineTruncated: n&2 != 0, WorkingDirectoryTruncated: n&4 != 0,
	}
	p.Script, p.ExecutableDeleted, p.ExecutableMemfd = b, n&16 != 0, n&32 != 0
	file := event.File{Path: b, PathTruncated: n&8 != 0, Read: n&16 != 0, Write: n&32 != 0, Create: n&64 != 0, Truncate: n&128 != 0,
		PathClaimed: n&256 != 0, NewPath: a, NewPathTruncated: n&512 != 0, TargetPath: b, Mode: uint32(n >> 4), ModeKnown: n&1 != 0, UID: uint32(n), GID: event.NoID}
	address, _ := netip.AddrFromSlice([]byte(a)) // not known unless it has 4 or 16 bytes
	network := event.Network{Destination: address.WithZone(b), Port: uint16(n), Source: address, SourcePort: uint16(n >> 8), Transport: b}
	privilege := event.Privilege{UID: uint32(n), EUID: event.NoID, GID: uint32(n >> 8), Capabilities: n, Namespaces: uint32(n),
		TargetPID: uint32(n >> 5), TargetExecutable: a, MountSource: b, MountType: a}
	ref := event.Ref{ID: a, Name: b}
	d := &event.Detection{
		ID: a,
		Event: &event.Event{Class: event.Class(n % 16), Operation: b, File: file, Network: network, Privilege: privilege,
			Kernel: event.KernelObject{Name: a, Type: b}, CgroupPath: a, ContainerID: b, Exit: event.Exit{Code: uint32(n >> 3), Signal: uint32(n >> 5), Runtime: time.Duration(n)}, Time: time.Unix(int64(n>>34), 0).UTC(), Process: p, Parent: p,
			User: event.User{Name: a, ID: uint32(n), EffectiveID: uint32(n >> 8)}, Sequence: n, Epoch: n, CgroupID: n},
		Rule: event.Rule{ID: a, Version: int(n), Name: b, Description: a, Severity: b, Hash: a},
		Tags: []event.Tag{{Tactic: ref, Technique: ref, SubTechnique: ref, Confidence: confidence}},
		Host: &event.Host{Hostname: a, OS: event.OS{Name: b}},
	}
	for _, info := range event.Fields() {
		d.Evidence = append(d.Evidence, info.Field)
	}
	return d
}

func checkJSONLine(t *testing.T, line []byte) {
	t.Helper()
	if !json.Valid(line) {
		t.Errorf("not valid JSON: %q", line)
	}
	checkTextLine(t, line)
}

func checkTextLine(t *testing.T, line []byte) {
	t.Helper()
	if !utf8.Valid(line) {
		t.Errorf("not valid UTF-8: %q", line)
	}
	if i := bytes.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("character at byte %d is not printable: %q", i, line)
	}
}

// uncoloured takes out the sequences that colour a line. Text from events can't
// contain any, so nothing of theirs is taken out.
func uncoloured(line []byte) []byte {
	s := strings.NewReplacer("\x1b[0m", "", "\x1b[1m", "", "\x1b[2m", "", "\x1b[31m", "", "\x1b[33m", "", "\x1b[36m", "").Replace(string(line))
	return []byte(s)
}

func checkRoundTrip(t *testing.T, line []byte, class event.Class, a, b string) {
	t.Helper()
	var doc struct {
		Process struct {
			Executable  string   `json:"executable"`
			Args        []string `json:"args"`
			CommandLine string   `json:"command_line"`
		} `json:"process"`
		File struct {
			Path       string `json:"path"`
			TargetPath string `json:"target_path"`
		} `json:"file"`
		Network struct {
			Transport string `json:"transport"`
		} `json:"network"`
		Container struct {
			ID string `json:"id"`
		} `json:"container"`
		Bittern struct {
			NewPath string `json:"new_path"`
			Script  string `json:"script"`
			Target  struct {
				Executable string `json:"executable"`
			} `json:"target"`
			Kernel struct {
				Name string `json:"name"`
			} `json:"kernel"`
			Escaped  []string       `json:"escaped"`
			Evidence map[string]any `json:"evidence"`
		} `json:"bittern"`
	}
	if err := json.Unmarshal(line, &doc); err != nil {
		t.Fatalf("decoding %q: %v", line, err)
	}
	restore := func(field, value string) string {
		if !slices.Contains(doc.Bittern.Escaped, field) {
			return value
		}
		raw, err := event.Unescape(value)
		if err != nil {
			t.Errorf("%s: %v", field, err)
		}
		return raw
	}
	if len(doc.Process.Args) != 2 {
		t.Fatalf("args: got %q", doc.Process.Args)
	}
	have := func(value string, f event.Field) string { // only where the class has the field
		if f.In(class) {
			return value
		}
		return ""
	}
	evidence, _ := doc.Bittern.Evidence["process.command_line"].(string)
	for _, tc := range []struct{ field, got, want string }{
		{"process.executable", doc.Process.Executable, a},
		{"process.args", doc.Process.Args[0], a},
		{"process.args", doc.Process.Args[1], b},
		{"process.command_line", doc.Process.CommandLine, a + " " + b},
		{"file.path", doc.File.Path, have(b, event.FilePath)},
		{"file.target_path", doc.File.TargetPath, have(b, event.FileTargetPath)},
		{"network.transport", doc.Network.Transport, have(b, event.NetworkTransport)},
		{"container.id", doc.Container.ID, b},
		{"bittern.new_path", doc.Bittern.NewPath, have(a, event.FileNewPath)},
		{"bittern.script", doc.Bittern.Script, b},
		{"bittern.target.executable", doc.Bittern.Target.Executable, have(a, event.PrivilegeTargetExecutable)},
		{"bittern.kernel.name", doc.Bittern.Kernel.Name, have(a, event.KernelName)},
		{"bittern.evidence.process.command_line", evidence, a + " " + b},
	} {
		if got := restore(tc.field, tc.got); got != tc.want {
			t.Errorf("%s: got back %q, want %q", tc.field, got, tc.want)
		}
	}
}
