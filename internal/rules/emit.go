package rules

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"
)

// attackID is one kind of ATT&CK id.
type attackID struct {
	key  string
	form *regexp.Regexp
	want string
}

var (
	tacticID       = attackID{"tactic", regexp.MustCompile(`^TA\d{4}$`), "TA0011"}
	techniqueID    = attackID{"technique_id", regexp.MustCompile(`^T\d{4}$`), "T1105"}
	subTechniqueID = attackID{"sub_technique_id", regexp.MustCompile(`^T\d{4}\.\d{3}$`), "T1059.004"}
)

// emits reads the ATT&CK tags of a rule.
func (r *reader) emits(n *yaml.Node) []Emit {
	items, ok := r.list(n, "emits", "of ATT&CK tags")
	if !ok {
		return nil
	}
	emits := make([]Emit, 0, len(items))
	for _, item := range items {
		if entries, ok := r.mapping(item, "an entry of emits"); ok {
			emits = append(emits, r.emit(item, entries))
		}
	}
	return emits
}

func (r *reader) emit(n *yaml.Node, entries []entry) Emit {
	given := make(map[string]*yaml.Node, len(entries))
	var emit Emit
	for _, e := range entries {
		given[e.name] = e.value
		switch e.name {
		case tacticID.key:
			emit.Tactic = r.attack(e.value, tacticID)
		case techniqueID.key:
			emit.Technique = r.attack(e.value, techniqueID)
		case subTechniqueID.key:
			// It may belong to another technique: rule sets in use tag a tool
			// transfer as T1105 done by way of the shell, T1059.004.
			emit.SubTechnique = r.attack(e.value, subTechniqueID)
		case "confidence":
			emit.Confidence = r.confidence(e.value)
		default:
			r.errorf(e.key, didYouMean(e.name, keyNames(emitKeys)), "unknown key %q in an entry of emits", clip(e.name))
		}
	}
	r.required(n, given, tacticID.key, "for example "+tacticID.want)
	r.required(n, given, techniqueID.key, "for example "+techniqueID.want)
	r.required(n, given, "confidence", "a number from 0 to 1, for example 0.8")
	return emit
}

func (r *reader) attack(n *yaml.Node, kind attackID) string {
	id, ok := r.text(n, kind.key, maxName)
	if !ok {
		return ""
	}
	if !kind.form.MatchString(id) {
		hint := "write it as " + kind.want
		if kind == techniqueID && subTechniqueID.form.MatchString(id) {
			hint = fmt.Sprintf("write technique_id: %s and sub_technique_id: %s", id[:len("T1059")], id)
		}
		r.errorf(n, hint, "%s %q is malformed", kind.key, clip(id))
		return ""
	}
	if r.opts.Attack == nil {
		return id
	}
	replacement, status := r.opts.Attack.Check(id)
	hint := "it has no replacement"
	if replacement != "" {
		hint = "use " + replacement
	}
	switch status {
	case AttackUnknown:
		r.errorf(n, "see https://attack.mitre.org", "%s %s is not known to ATT&CK", kind.key, id)
	case AttackRevoked:
		r.warnf(n, hint, "%s %s is revoked in ATT&CK", kind.key, id)
	case AttackDeprecated:
		r.warnf(n, hint, "%s %s is deprecated in ATT&CK", kind.key, id)
	}
	return id
}

func (r *reader) confidence(n *yaml.Node) float64 {
	if n.Kind != yaml.ScalarNode || (n.ShortTag() != "!!float" && n.ShortTag() != "!!int") {
		hint := ""
		if isString(n) {
			hint = "write it without quotes, for example 0.8"
		}
		r.wrongType(n, "confidence", "a number from 0 to 1", hint)
		return 0
	}
	c, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || math.IsNaN(c) || c < 0 || c > 1 {
		r.wrongType(n, "confidence", "a number from 0 to 1", "")
	}
	return c
}
