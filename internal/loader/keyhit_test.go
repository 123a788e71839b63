package loader

import (
	"strconv"
	"testing"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// TestHit judges one event, and asks for keys of all kinds: some that it has hit, also where a longer
// key hides them, and some that it has not.
func TestHit(t *testing.T) {
	k := loadForTest(t, Config{})
	c := newCourt(t, k)
	path := curlSubject.path
	match := "  long: {process.executable|startswith: " + path + "}\n" +
		"  short: {process.executable|startswith: " + path[:3] + "}\n" +
		"  suffix: {process.executable|endswith: [" + path[4:] + ", /other]}\n" +
		"  user: {user.id: [" + strconv.Itoa(int(curl().User.ID)) + ", 4242]}\n" +
		"  parent: {process.parent.executable: /never/there}\n" +
		"  condition: long and suffix or short and user or parent"
	if _, err := k.Commit(Swap{"H", parseRule(t, ruleText("H", 1, match))}); err != nil {
		t.Fatal(err)
	}
	wanted := map[rules.Key]bool{
		{Field: event.ProcessExecutable, Kind: rules.Prefix, Text: path[:3]}:                 true, // hidden by the next
		{Field: event.ProcessExecutable, Kind: rules.Prefix, Text: path}:                     true,
		{Field: event.ProcessExecutable, Kind: rules.Suffix, Text: path[4:]}:                 true,
		{Field: event.ProcessExecutable, Kind: rules.Suffix, Text: "/other"}:                 false,
		{Field: event.UserID, Kind: rules.NumberEquals, Number: uint64(curl().User.ID)}:      true,
		{Field: event.UserID, Kind: rules.NumberEquals, Number: 4242}:                        false,
		{Field: event.ProcessParentExecutable, Kind: rules.Equals, Text: "/never/there"}:     false,
		{Field: event.ProcessParentExecutable, Kind: rules.Equals, Text: "/of/another/rule"}: false,
	}
	check := func(after bool) {
		t.Helper()
		for key, hit := range wanted {
			if got, err := k.Hit(event.ProcessExec, key); err != nil || got != (hit && after) {
				t.Errorf("%v: hit %v, %v, want %v", key, got, err, hit && after)
			}
		}
	}
	check(false)
	if got := onlyNames(t, k, c); got != "H.1 " {
		t.Fatalf("%q judge the event", got)
	}
	check(true)
	if _, err := k.Hit(event.ProcessExec, rules.Key{Field: event.UserName, Kind: rules.Equals, Text: "root"}); err == nil {
		t.Error("a field that the kernel does not know is asked for without an error")
	}
	// A key that comes anew has not been hit.
	if _, err := k.Commit(Swap{"H", parseRule(t, ruleText("H", 2, "  only: {process.executable: "+path+"}"))}); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Hit(event.ProcessExec, rules.Key{Field: event.ProcessExecutable, Kind: rules.Equals, Text: path}); got || err != nil {
		t.Errorf("a new key, which no event has hit: hit %v, %v", got, err)
	}
}
