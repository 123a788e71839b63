package main

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"bittern/internal/agent"
	"bittern/internal/attack"
	"bittern/internal/event"
	"bittern/internal/rules"
)

// ruleJSON is what "explain --output json" prints of a rule.
type ruleJSON struct {
	ID       string          `json:"id"`
	Version  int             `json:"version"`
	Name     string          `json:"name"`
	File     string          `json:"file"`
	Line     int             `json:"line"`
	Hash     string          `json:"hash"`
	Severity string          `json:"severity,omitempty"`
	Attack   []tagJSON       `json:"attack"`
	Lists    []listJSON      `json:"lists"`
	Except   []exceptionJSON `json:"exceptions"`
	Limit    *limitJSON      `json:"limit,omitempty"`
	Coverage string          `json:"coverage"` // "exact", "narrowed" or "not_narrowed"
	Slots    int             `json:"slots"`
	Plans    []planJSON      `json:"plans"`
}

type listJSON struct {
	Name   string `json:"name"`
	Values int    `json:"values"`
	Hash   string `json:"hash"`
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
}

type exceptionJSON struct {
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
	Line   int    `json:"line"`
}

type limitJSON struct {
	Per    string `json:"per"` // "process", "user" or "rule"
	Max    int    `json:"max"`
	Window int    `json:"window"` // seconds
}

type tagJSON struct {
	Tactic       refJSON  `json:"tactic"`
	Technique    refJSON  `json:"technique"`
	SubTechnique *refJSON `json:"subtechnique,omitempty"`
	Confidence   float64  `json:"confidence"`
}

type refJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type planJSON struct {
	Class   string       `json:"class"`
	Exact   bool         `json:"exact"`
	Clauses []clauseJSON `json:"clauses"`
	Notes   []noteJSON   `json:"left_to_user_space"`
}

// clauseJSON: an event passes if it hits one key of each group, and none of Not.
type clauseJSON struct {
	Groups [][]keyJSON `json:"groups"`
	Not    []keyJSON   `json:"not"`
}

type keyJSON struct {
	Field      string `json:"field"`
	Kind       string `json:"kind"`
	Value      any    `json:"value"`                 // string, number or boolean
	Escaped    bool   `json:"escaped,omitempty"`     // Value is not UTF-8, and in Go's quoted form
	IgnoreCase bool   `json:"ignore_case,omitempty"` // of ASCII letters
}

type noteJSON struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Literal string `json:"literal"`
	Reason  string `json:"reason"`
}

func newRuleJSON(r *rules.Rule, catalogue *attack.Catalogue) ruleJSON {
	j := ruleJSON{
		ID: r.ID, Version: r.Version, Name: r.Name, File: r.Pos.File, Line: r.Pos.Line, Hash: r.Hash.String(),
		Severity: string(r.Metadata.Severity), Attack: []tagJSON{}, Lists: []listJSON{}, Except: []exceptionJSON{}, Coverage: coverageName(r), Slots: slots(r), Plans: []planJSON{},
	}
	if l := r.Limit; l != nil {
		j.Limit = &limitJSON{l.Per.String(), l.Max, int(l.Window / time.Second)}
	}
	for _, e := range r.Emits {
		tag := tagJSON{
			Tactic:     refJSON{e.Tactic, tacticName(catalogue, e.Tactic)},
			Technique:  refJSON{e.Technique, techniqueName(catalogue, e.Technique)},
			Confidence: e.Confidence,
		}
		if e.SubTechnique != "" {
			tag.SubTechnique = &refJSON{e.SubTechnique, techniqueName(catalogue, e.SubTechnique)}
		}
		j.Attack = append(j.Attack, tag)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Uses())) {
		list := r.Uses()[name]
		j.Lists = append(j.Lists, listJSON{name, list.Len(), list.Hash.String(), list.Pos.File, list.Pos.Line})
	}
	for _, x := range r.Exceptions {
		j.Except = append(j.Except, exceptionJSON{x.Name, x.Reason, x.Pos.Line})
	}
	for _, p := range r.Plans() {
		j.Plans = append(j.Plans, newPlanJSON(p))
	}
	return j
}

func coverageName(r *rules.Rule) string {
	if c := agent.CoverageOf(r); c != agent.NotNarrowed {
		return c.String()
	}
	return "not_narrowed"
}

func newPlanJSON(p *rules.Plan) planJSON {
	j := planJSON{Class: p.Class.String(), Exact: p.Exact, Clauses: []clauseJSON{}, Notes: []noteJSON{}}
	for _, c := range p.Clauses {
		clause := clauseJSON{Groups: [][]keyJSON{}, Not: keysJSON(c.Not)}
		for _, g := range c.Groups {
			clause.Groups = append(clause.Groups, keysJSON(g))
		}
		j.Clauses = append(j.Clauses, clause)
	}
	for _, n := range p.Notes {
		j.Notes = append(j.Notes, noteJSON{n.Pos.Line, n.Pos.Column, n.Literal, n.Reason})
	}
	return j
}

func keysJSON(keys []rules.Key) []keyJSON {
	all := make([]keyJSON, 0, len(keys))
	for _, k := range keys {
		j := keyJSON{Field: k.Field.String(), Kind: kindName(k.Kind), Value: k.Text, IgnoreCase: k.Fold}
		switch quoted := strconv.Quote(k.Text); {
		case k.Kind == rules.NumberEquals && k.Field.Info().Kind == event.Bool:
			j.Value = k.Number != 0
		case k.Kind == rules.NumberEquals:
			j.Value = k.Number
		case k.Kind == rules.InNetwork:
			j.Value = k.Network.String()
		case !utf8.ValidString(k.Text):
			j.Value, j.Escaped = quoted[1:len(quoted)-1], true
		}
		all = append(all, j)
	}
	return all
}

// kindName is the rule language's word, where it has one.
func kindName(k rules.KeyKind) string {
	switch k {
	case rules.Equals, rules.NumberEquals:
		return "equals"
	case rules.Prefix:
		return "startswith"
	case rules.Suffix:
		return "endswith"
	case rules.Gram:
		return "gram"
	case rules.InNetwork:
		return "cidr"
	}
	return "unknown"
}
