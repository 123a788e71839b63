package rulestest

import "fmt"

// Corpus returns n rules such as a large site has, for benchmarks: each names
// programs and words of its own, in the proportions of public rule sets. No
// ordinary command matches one.
func Corpus(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = CorpusRule(i, 1)
	}
	return out
}

// CorpusRule returns the rule number i of the corpus, in some version. Its id is C
// and the number.
func CorpusRule(i, version int) string {
	var match string
	switch tool := fmt.Sprintf("tool%04d", i); {
	case i%16 < 8:
		match = fmt.Sprintf(`
  image: {process.executable|endswith: [/%s, /%s.bin]}
  words: {process.command_line|contains: [--%s-%d, ' exfil%d ']}
  condition: image and words`, tool, tool, "opt", i, i)
	case i%16 < 10:
		match = fmt.Sprintf(`
  field: command_text
  pattern: '(?i)\b%s\s+.*https?://host%d\.'`, tool, i)
	case i%16 < 11:
		match = fmt.Sprintf(`
  place: {process.executable|startswith: [/opt/%s/, /srv/%s/bin/]}`, tool, tool)
	case i%16 < 13:
		match = fmt.Sprintf(`
  parent: {process.parent.executable|endswith|nocase: /%sd}
  shell: {process.name: [sh, bash, dash]}
  condition: parent and shell`, tool)
	case i%16 < 15:
		match = fmt.Sprintf(`
  image: {process.name: %s}
  usual: {process.parent.executable: /usr/sbin/cron}
  condition: image and not usual`, tool)
	default:
		match = fmt.Sprintf(`
  words: {process.command_line|contains|all: ['secret%d', '--upload']}`, i)
	}
	return fmt.Sprintf(`rule_id: C%d
rule_version: %d
name: corpus_%d
description: Rule %d of a corpus for benchmarks.
applies_to: [process_exec]
match:%s
emits:
  - {tactic: TA0002, technique_id: T1059, confidence: 0.5}
evidence_fields: [process.command_line]
`, i, version, i, i, match)
}

// FileCorpusRule returns the rule number i of a corpus about files that are opened. Its
// id is F and the number.
func FileCorpusRule(i, version int) string {
	var match string
	switch tool := fmt.Sprintf("tool%04d", i); {
	case i%16 < 6:
		match = fmt.Sprintf("{file.path: [/etc/%s.conf, /etc/%s/main.conf]}", tool, tool)
	case i%16 < 10:
		match = fmt.Sprintf("{file.path|startswith: /var/lib/%s/, file.open.write: true}", tool)
	case i%16 < 14:
		match = fmt.Sprintf("{file.path|endswith: [/.%s/credentials, .%s_key]}", tool, tool)
	default:
		match = fmt.Sprintf("{file.path|startswith: /home/, file.name: secret%d, process.name: %s}", i, tool)
	}
	return fmt.Sprintf(`rule_id: F%d
rule_version: %d
name: file_corpus_%d
applies_to: [file_open]
match:
  file: %s
emits:
  - {tactic: TA0006, technique_id: T1552, confidence: 0.5}
`, i, version, i, match)
}
