package rules

import (
	"os"
	"path/filepath"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"short_form", "selections"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".good.yml"))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if f := Parse(name, data, Options{}); len(f.Documents) != 1 || f.Documents[0].Rule == nil {
					b.Fatal("not parsed")
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	matches := map[string]string{
		"regexp":   `  s: {process.command_line|re: '(?i)\b(wget|curl)\s+.*https?://'}`,
		"contains": `  s: {process.command_line|contains: 'http://'}`,
		"nocase":   `  s: {process.command_line|contains|nocase: 'HTTP://'}`,
		"glob":     `  s: {process.command_line: 'curl*http*://*'}`,
		"args":     `  s: {process.args: http://198.51.100.7/x}`,
	}
	for name, match := range matches {
		rule := ruleOf(b, match)
		hit, miss := execOf("curl -s -L -O http://198.51.100.7/x"), execOf("/usr/bin/python3 -m pip install --upgrade pip setuptools")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !rule.Match(hit) || rule.Match(miss) {
					b.Fatal("wrong answer")
				}
			}
		})
	}
}
