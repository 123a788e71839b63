package rules

import (
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// metadata reads the keys that say something about the rule itself.
func (r *reader) metadata(given map[string]*yaml.Node) Metadata {
	var m Metadata
	if v := given["severity"]; v != nil {
		m.Severity = r.severity(v)
	}
	for key, to := range map[string]*string{"date": &m.Date, "last_reviewed": &m.LastReviewed, "next_review": &m.NextReview} {
		if v := given[key]; v != nil {
			*to = r.date(v, key)
		}
	}
	if v := given["author"]; v != nil {
		m.Author, _ = r.text(v, "author", maxText)
	}
	for key, to := range map[string]*[]string{"references": &m.References, "falsepositives": &m.FalsePositives, "tags": &m.Tags} {
		if v := given[key]; v != nil {
			*to = r.texts(v, key, maxText)
		}
	}
	return m
}

func (r *reader) severity(n *yaml.Node) Severity {
	known := severityNames()
	s, ok := r.text(n, "severity", maxName)
	if ok && !slices.Contains(known, s) {
		r.errorf(n, didYouMean(s, known), "unknown severity %q", clip(s))
	}
	return Severity(s)
}

func (r *reader) date(n *yaml.Node, key string) string {
	s, ok := r.text(n, key, maxName)
	if !ok {
		return ""
	}
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		r.errorf(n, "write it as 2026-01-31", "%s %q is not a date", key, clip(s))
	}
	return s
}

func severityNames() []string {
	var names []string
	for _, s := range Severities() {
		names = append(names, string(s))
	}
	return names
}
