package loader

import (
	"fmt"
	"strings"
	"testing"

	"bittern/internal/rules"
)

// BenchmarkCommitList commits four rules that share a list of 10,000 values, each time with one more.
func BenchmarkCommitList(b *testing.B) {
	k := loadForTest(b, Config{})
	var text strings.Builder
	for n := range 10_000 {
		fmt.Fprintf(&text, "- /word-%05d\n", n)
	}
	n := 10_000
	made := func() []Swap {
		fmt.Fprintf(&text, "- /word-%05d\n", n)
		n++
		list := rules.ParseList("words", "words.yml", []byte(text.String()), rules.Options{}).Lists[0]
		var swaps []Swap
		for i := range 4 {
			id := fmt.Sprintf("R%d", i)
			f := rules.Parse("r.yml", []byte(ruleText(id, 1, "  s: {process.command_line|endswith: {list: words}}")), rules.Options{Lists: rules.Lists{"words": list}})
			swaps = append(swaps, Swap{RuleID: id, New: f.Documents[0].Rule})
		}
		return swaps
	}
	if _, err := k.Commit(made()...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		swaps := made()
		b.StartTimer()
		if _, err := k.Commit(swaps...); err != nil {
			b.Fatal(err)
		}
	}
}
