package event_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"bittern/internal/event"
)

// Whatever rule tests set, rules read back.
func TestEveryFieldCanBeSet(t *testing.T) {
	for _, info := range event.Fields() {
		var ev event.Event
		if info.Kind != event.String {
			if err := ev.SetNumber(info.Field, 1); err != nil {
				t.Error(err)
			}
			if n, ok := ev.Number(info.Field); !ok || n != 1 {
				t.Errorf("%s: got back %d, %v", info.Name, n, ok)
			}
			if err := ev.Set(info.Field, "x"); err == nil {
				t.Errorf("%s: takes a string", info.Name)
			}
			continue
		}
		values := []string{"x"}
		if info.Address {
			values = []string{"198.51.100.7", "2001:db8::1"}
		} else if info.Values != nil {
			values = info.Values
		}
		for _, value := range values {
			if err := ev.Set(info.Field, value); err != nil {
				t.Error(err)
			}
			if got := ev.Strings(info.Field, nil); !slices.Equal(got, []string{value}) {
				t.Errorf("%s: got back %q, want %q", info.Name, got, value)
			}
		}
		if err := ev.SetNumber(info.Field, 1); err == nil {
			t.Errorf("%s: takes a number", info.Name)
		}
		if err := ev.Set(info.Field, values[0], values[len(values)-1]); (err == nil) != info.Many && len(values) > 1 {
			t.Errorf("%s: two values: %v", info.Name, err)
		}
		if err := ev.Set(info.Field, "x", "y"); (err == nil) != (info.Many && info.Values == nil) {
			t.Errorf("%s: two values: %v", info.Name, err)
		}
	}
}

func TestValuesThatAFieldCannotHave(t *testing.T) {
	for field, bad := range map[event.Field][]string{
		event.DestinationIP:    {"", "x", "10.0.0.0/8", "10.0.0", "010.0.0.1", "[::1]"},
		event.NetworkTransport: {"", "TCP", "sctp"},
		event.NetworkType:      {"", "IPv4", "inet"},
		event.SourceIP:         {"", "::1/128"},
		event.FileOperation:    {"", "Create", "bind"},
		event.KernelType:       {"KPROBE"},

		event.PrivilegeCapabilities: {"", "CAP_ROOT", "cap_chown"},
	} {
		for _, value := range bad {
			var ev event.Event
			if err := ev.Set(field, value); err == nil {
				t.Errorf("%s can be set to %q", field, value)
			}
			if got := ev.Strings(field, nil); len(got) > 0 {
				t.Errorf("%s is %q after an error", field, got)
			}
		}
	}
}

func TestAddressOfADestination(t *testing.T) {
	for _, tt := range []struct{ addr, ip, family, in, notIn string }{
		{"192.0.2.7", "192.0.2.7", "ipv4", "192.0.2.0/24", "::/0"},
		{"::ffff:192.0.2.7", "192.0.2.7", "ipv4", "192.0.2.7/32", "192.0.2.8/29"},
		{"2001:DB8:0::01", "2001:db8::1", "ipv6", "2001:db8::/32", "2001:db9::/32"},
		{"fe80::1%eth0", "fe80::1", "ipv6", "fe80::/10", "0.0.0.0/0"},
		{"::", "::", "ipv6", "::/0", "::1/128"},
	} {
		ev := event.Event{Network: event.Network{Destination: netip.MustParseAddr(tt.addr)}}
		if got := ev.Strings(event.DestinationIP, nil); !slices.Equal(got, []string{tt.ip}) {
			t.Errorf("%s: destination.ip is %q, want %q", tt.addr, got, tt.ip)
		}
		if got := ev.Strings(event.NetworkType, nil); !slices.Equal(got, []string{tt.family}) {
			t.Errorf("%s: network.type is %q, want %q", tt.addr, got, tt.family)
		}
		if !ev.Contains(event.DestinationIP, netip.MustParsePrefix(tt.in)) {
			t.Errorf("%s is not in %s", tt.addr, tt.in)
		}
		if ev.Contains(event.DestinationIP, netip.MustParsePrefix(tt.notIn)) {
			t.Errorf("%s is in %s", tt.addr, tt.notIn)
		}
		if ev.Contains(event.FilePath, netip.MustParsePrefix(tt.in)) {
			t.Errorf("file.path holds an address in %s", tt.in)
		}
	}
	var unknown event.Event
	for _, f := range []event.Field{event.DestinationIP, event.NetworkType, event.NetworkTransport} {
		if got := unknown.Strings(f, nil); len(got) > 0 {
			t.Errorf("%s is %q, though it is not known", f, got)
		}
	}
	if unknown.Contains(event.DestinationIP, netip.MustParsePrefix("0.0.0.0/0")) || unknown.Contains(event.DestinationIP, netip.MustParsePrefix("::/0")) {
		t.Error("an address that is not known is in a network")
	}
}

// What is not known satisfies neither a value nor its opposite.
func TestNumbersThatAreNotKnown(t *testing.T) {
	for _, class := range event.Classes() {
		ev := event.Blank(class)
		for _, f := range []event.Field{
			event.FileModeSetuid, event.FileModeSetgid, event.FileModeExecutable, event.FileModeWorldWritable, event.FileUID, event.FileGID,
			event.PrivilegeTargetPID, event.UserChangesID, event.UserChangesEffectiveID, event.UserChangesGroupID,
		} {
			if n, ok := ev.Number(f); ok {
				t.Errorf("%s: %s is %d, though nothing is known", class, f, n)
			}
		}
	}
}

func TestModes(t *testing.T) {
	for mode, want := range map[uint32][4]uint64{
		0:      {0, 0, 0, 0},
		0o644:  {0, 0, 0, 0},
		0o4755: {1, 0, 1, 0},
		0o2010: {0, 1, 1, 0},
		0o1002: {0, 0, 0, 1},
		0o6777: {1, 1, 1, 1},
	} {
		ev := event.Event{File: event.File{Mode: mode, ModeKnown: true}}
		var have [4]uint64
		for i, f := range []event.Field{event.FileModeSetuid, event.FileModeSetgid, event.FileModeExecutable, event.FileModeWorldWritable} {
			have[i], _ = ev.Number(f)
		}
		if have != want {
			t.Errorf("%04o: have %d, want %d", mode, have, want)
		}
	}
}

// The version of IP is the peer's; of a socket without one, that of this side.
func TestVersionOfASocket(t *testing.T) {
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, tt := range []struct {
		network event.Network
		want    []string
	}{
		{event.Network{Source: v4}, []string{"ipv4"}},
		{event.Network{Source: v6}, []string{"ipv6"}},
		{event.Network{Source: v6, Destination: v4}, []string{"ipv4"}},
		{event.Network{}, nil},
	} {
		ev := event.Event{Class: event.NetworkListen, Network: tt.network}
		if have := ev.Strings(event.NetworkType, nil); !slices.Equal(have, tt.want) {
			t.Errorf("%+v: have %q, want %q", tt.network, have, tt.want)
		}
	}
	ev := event.Event{Class: event.NetworkListen, Network: event.Network{Source: netip.MustParseAddr("::ffff:10.0.0.1")}}
	if !ev.Contains(event.SourceIP, netip.MustParsePrefix("10.0.0.0/8")) || ev.Contains(event.DestinationIP, netip.MustParsePrefix("0.0.0.0/0")) {
		t.Error("a socket without a peer is in the wrong networks")
	}
}

func TestFieldsAndClassesAreFoundByName(t *testing.T) {
	for _, info := range event.Fields() {
		for _, name := range []string{info.Name, info.Alias} {
			if f, ok := event.ParseField(name); name != "" && (!ok || f != info.Field) {
				t.Errorf("field %q: got %s, %v", name, f, ok)
			}
		}
		if len(info.Classes) == 0 || info.Doc == "" {
			t.Errorf("field %s has %d classes and is described as %q", info.Name, len(info.Classes), info.Doc)
		}
		if n := len(info.ValueDocs); n != 0 && n != len(info.Values) {
			t.Errorf("field %s has %d values, and %d descriptions of them", info.Name, len(info.Values), n)
		}
	}
	for _, c := range event.Classes() {
		for _, name := range []string{c.Info().Name, c.Info().Alias} {
			if got, ok := event.ParseClass(name); name != "" && (!ok || got != c) {
				t.Errorf("class %q: got %s, %v", name, got, ok)
			}
		}
	}
	for _, name := range []string{"", "unknown", "nothing"} {
		if f, ok := event.ParseField(name); ok {
			t.Errorf("%q is the field %d", name, f)
		}
		if c, ok := event.ParseClass(name); ok {
			t.Errorf("%q is the class %d", name, c)
		}
	}
	if got := event.Class(200).String(); got != "unknown" {
		t.Errorf("a class out of range is called %q", got)
	}
}

// The page for users says what each class is to ECS.
func TestClassesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/detections.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range event.Classes() {
		info := c.Info()
		if row := "| `" + info.Name + "` | `" + info.Category + "`, `" + strings.Join(info.Types, "`, `") + "` |"; !strings.Contains(string(text), row) {
			t.Errorf("docs/detections.md has no row %s", row)
		}
	}
}

func TestPartsOfPaths(t *testing.T) {
	for path, want := range map[string][3]string{
		"":                   {"", "", ""},
		"/":                  {"", "/", ""},
		"/a":                 {"a", "/", ""},
		"/a/b.tar.gz":        {"b.tar.gz", "/a", "gz"},
		"/home/alice/.netrc": {".netrc", "/home/alice", ""},
		"/a.d/b":             {"b", "/a.d", ""},
		"/a/b.":              {"b.", "/a", ""},
		"memfd:x.y":          {"memfd:x.y", "", "y"},
	} {
		d := sampleOpen()
		d.Event.File.Path = path
		var doc struct {
			File struct{ Path, Name, Directory, Extension string }
		}
		if err := json.Unmarshal(d.AppendJSON(nil), &doc); err != nil {
			t.Fatal(err)
		}
		if got := [3]string{doc.File.Name, doc.File.Directory, doc.File.Extension}; got != want || doc.File.Path != path {
			t.Errorf("%q: got %q of %q, want %q", path, got, doc.File.Path, want)
		}
	}
}
