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

// NetworkCorpusRule returns the rule number i of a corpus about connections that are
// made. Its id is N and the number.
func NetworkCorpusRule(i, version int) string {
	var match string
	switch high, low := i/256%256, i%256; {
	case i%16 < 7:
		match = fmt.Sprintf("{destination.ip: [198.51.%d.%d, 203.0.%d.%d], destination.port: [443, 8443]}", high, low, high, low)
	case i%16 < 11:
		match = fmt.Sprintf("{destination.ip|cidr: 100.%d.%d.0/24, destination.port: [25, 465, 587]}", 64+high%64, low)
	case i%16 < 13:
		match = fmt.Sprintf("{destination.ip|cidr: '2001:db8:%x::/48', destination.port: 443}", i)
	default:
		match = fmt.Sprintf("{process.name: tool%04d, destination.port: [22, 4444, %d]}", i, 10000+i%50000)
	}
	return fmt.Sprintf(`rule_id: N%d
rule_version: %d
name: network_corpus_%d
applies_to: [network_connect]
match:
  peer: %s
emits:
  - {tactic: TA0011, technique_id: T1071, confidence: 0.5}
`, i, version, i, match)
}

// MixedCorpus returns n rules about all classes, in the proportions of a large site:
// of 16 rules 8 are of Corpus, 5 about files that are opened and 3 about connections.
func MixedCorpus(n int) []string {
	out := make([]string, n)
	for i := range out {
		block, k := i/16, i%16
		switch {
		case k < 8:
			out[i] = CorpusRule(8*block+k, 1)
		case k < 13:
			out[i] = FileCorpusRule(5*block+k-8, 1)
		default:
			out[i] = NetworkCorpusRule(3*block+k-13, 1)
		}
	}
	return out
}
