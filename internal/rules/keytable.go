package rules

// KeyInfo describes a key of a rule, or of a mapping in a rule: for the parser, the reference and the schema of rule files.
type KeyInfo struct {
	Name     string
	Type     KeyType
	Most     int // bytes of a text, or of each text of a list; 0 if the type says it all
	Required bool
	Doc      string // what it is; sentences, with names in backticks
}

// KeyType is the type of a key's value, as the reference names it.
type KeyType string

// The types of values.
const (
	TypeID         KeyType = "rule id"
	TypeCount      KeyType = "whole number from 1"
	TypeText       KeyType = "text"
	TypeTexts      KeyType = "list of texts"
	TypeDate       KeyType = "date such as `2026-01-31`"
	TypeSeverity   KeyType = "severity"
	TypeClass      KeyType = "event class"
	TypeClasses    KeyType = "list of event classes"
	TypeField      KeyType = "field"
	TypeFields     KeyType = "list of fields"
	TypeMatch      KeyType = "field and pattern, or selections and a condition"
	TypeCondition  KeyType = "condition"
	TypePattern    KeyType = "regular expression"
	TypeEmits      KeyType = "list of ATT&CK tags"
	TypeExceptions KeyType = "list of exceptions"
	TypeSelection  KeyType = "fields and values, or a list of such"
	TypeLimit      KeyType = "limit"
	TypePer        KeyType = "source"
	TypeWindow     KeyType = "time from `1s` to `24h`"
	TypeTests      KeyType = "list of tests"
	TypeExample    KeyType = "fields with their values"

	TypeTactic       KeyType = "ATT&CK id such as `TA0011`"
	TypeTechnique    KeyType = "ATT&CK id such as `T1105`"
	TypeSubTechnique KeyType = "ATT&CK id such as `T1059.004`"
	TypeConfidence   KeyType = "number from 0 to 1"
)

// ruleKeys are the keys of a rule. A key is known once it stands here.
var ruleKeys = []KeyInfo{
	{Name: "rule_id", Type: TypeID, Most: maxID, Required: true, Doc: "Identifies the rule for good, on all hosts: no other rule has it, and it stays through all versions. Letters, digits and `_`."},
	{Name: "rule_version", Type: TypeCount, Required: true, Doc: "Your own count of versions: one more at each change, so that detections of the two can be told apart."},
	{Name: "name", Type: TypeText, Most: maxName, Required: true, Doc: "Short name, which detections carry."},
	{Name: "description", Type: TypeText, Most: maxText, Doc: "What the rule detects, and why that matters."},
	{Name: "applies_to", Type: TypeClasses, Required: true, Doc: "Classes of the events that the rule judges. The match and the evidence may use only fields that all of them have."},
	{Name: "match", Type: TypeMatch, Required: true, Doc: "What an event must be like to be a detection."},
	{Name: "exceptions", Type: TypeExceptions, Doc: "What the rule is not to be detected for: an event that the match and any of them match is no detection."},
	{Name: "emits", Type: TypeEmits, Required: true, Doc: "What a detection means in MITRE ATT&CK: one entry for each tag."},
	{Name: "evidence_fields", Type: TypeFields, Doc: "Fields to copy into the detection."},
	{Name: "limit", Type: TypeLimit, Doc: "How many detections of one source are written one by one; what comes after them is counted, and told together."},
	{Name: "tests", Type: TypeTests, Doc: "Examples of events that the rule must match, or must not; `bittern rules test` runs them."},
	{Name: "severity", Type: TypeSeverity, Doc: "How bad a detection is."},
	{Name: "author", Type: TypeText, Most: maxText, Doc: "Who wrote the rule."},
	{Name: "date", Type: TypeDate, Doc: "When it was written."},
	{Name: "references", Type: TypeTexts, Most: maxText, Doc: "Where more can be read, for example addresses of web pages."},
	{Name: "falsepositives", Type: TypeTexts, Most: maxText, Doc: "What the rule matches although it is harmless."},
	{Name: "tags", Type: TypeTexts, Most: maxText, Doc: "Words to find rules by."},
	{Name: "last_reviewed", Type: TypeDate, Doc: "When somebody last looked whether the rule is still right."},
	{Name: "next_review", Type: TypeDate, Doc: "When somebody is to look again."},
}

// emitKeys are the keys of an entry of emits.
var emitKeys = []KeyInfo{
	{Name: "tactic", Type: TypeTactic, Required: true, Doc: "What the attacker is after."},
	{Name: "technique_id", Type: TypeTechnique, Required: true, Doc: "How it is done."},
	{Name: "sub_technique_id", Type: TypeSubTechnique, Doc: "How exactly; it may belong to another technique."},
	{Name: "confidence", Type: TypeConfidence, Required: true, Doc: "How sure it is that an event which the rule matches is what the tag says."},
}

// exceptionKeys are the keys of an exception.
var exceptionKeys = []KeyInfo{
	{Name: "name", Type: TypeText, Most: maxName, Required: true, Doc: "Tells the exception from the others of the rule."},
	{Name: "reason", Type: TypeText, Most: maxText, Doc: "Why it is there."},
	{Name: "match", Type: TypeSelection, Required: true, Doc: "What an event is like that is no detection, as in a selection."},
}

// limitKeys are the keys of limit.
var limitKeys = []KeyInfo{
	{Name: "per", Type: TypePer, Required: true, Doc: "What is counted apart: `process`, which is the parent of an execution or exit, `user` or `rule`."},
	{Name: "max", Type: TypeCount, Required: true, Doc: "How many detections of a window are written one by one."},
	{Name: "window", Type: TypeWindow, Required: true, Doc: "How long a window is, from its first detection: a whole number and `s`, `m` or `h`."},
}

// matchKeys are the keys of a match that are no selections.
var matchKeys = []KeyInfo{
	{Name: "field", Type: TypeField, Most: maxName, Doc: "Short form: the string field that the pattern is for."},
	{Name: "pattern", Type: TypePattern, Most: maxValue, Doc: "Short form: a regular expression that matches somewhere in the field's value, in Go's syntax (RE2)."},
	{Name: "condition", Type: TypeCondition, Most: maxCondition,
		Doc: "How the selections go together: their names with `and`, `or`, `not` and parentheses, `1 of tool_*`, `all of them`. A single selection needs none."},
}

// testKeys are the keys of a test.
var testKeys = []KeyInfo{
	{Name: "match", Type: TypeExample, Doc: "An event that the rule must match. What is not given is empty, 0 or false, or not known."},
	{Name: "no_match", Type: TypeExample, Doc: "An event that the rule must not match."},
	{Name: "event", Type: TypeClass, Doc: "Class of the event, if it is not the first of `applies_to`."},
}

// Keys lists the keys of a rule. Keys that start with x- are free beside them.
func Keys() []KeyInfo { return ruleKeys }

// EmitKeys lists the keys of an entry of emits.
func EmitKeys() []KeyInfo { return emitKeys }

// ExceptionKeys lists the keys of an exception.
func ExceptionKeys() []KeyInfo { return exceptionKeys }

// LimitKeys lists the keys of limit.
func LimitKeys() []KeyInfo { return limitKeys }

// Sources lists what a limit can be per.
func Sources() []string { return perNames }

// MatchKeys lists the keys of a match that are no selections.
func MatchKeys() []KeyInfo { return matchKeys }

// TestKeys lists the keys of a test.
func TestKeys() []KeyInfo { return testKeys }

// keyNames lists the names of keys.
func keyNames(keys []KeyInfo) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	return names
}
