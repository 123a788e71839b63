package main

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"

	"bittern/internal/agent"
	"bittern/internal/db"
	"bittern/internal/rules/mirror"
)

// fleetDir is where what the store has given outlives the agent.
func (s *settings) fleetDir() string { return filepath.Join(s.state, "fleet") }

// fleet is the store that the settings name, nil if they name none. Its error says which settings don't fit together.
func (s *settings) fleet() (*agent.Fleet, error) {
	fromStore := s.rules == fromPostgres
	switch {
	case s.database == "" && fromStore:
		return nil, errors.New("rules are those of the database, but none is named: set database as well")
	case s.database == "" && s.floor != "":
		return nil, errors.New("floor is for states of the database, but none is named: set database as well")
	case !fromStore && (s.rulesKeys != "" || s.rulesUnsigned):
		return nil, errors.New("rules_keys and rules_unsigned are for rules of the database: set rules to " + fromPostgres + " as well")
	case fromStore && s.rulesKeys == "" && !s.rulesUnsigned:
		return nil, errors.New("rules of the database must be signed: name the public keys by rules_keys, or set rules_unsigned")
	case s.rulesKeys != "" && s.rulesUnsigned:
		return nil, errors.New("set rules_keys or rules_unsigned, not both")
	case s.database == "":
		return nil, nil
	}
	if _, err := db.Parse(s.database); err != nil {
		return nil, err
	}
	f := &agent.Fleet{DSN: s.database, Dir: s.fleetDir(), Floor: floorOf(s.floor), Rules: fromStore, Unsigned: s.rulesUnsigned}
	if s.rulesKeys != "" {
		keys, err := mirror.ReadKeys(strings.Split(s.rulesKeys, ",")...)
		if err != nil {
			return nil, err
		}
		f.Keys = keys
	}
	return f, nil
}

// floor is a list of ids of rules and of beginnings of ids.
type floor struct{ value *string }

const floorForm = `^[A-Za-z0-9_]*\*?(,[A-Za-z0-9_]*\*?)*$`

var floorPattern = regexp.MustCompile(floorForm)

func newFloor(value *string) *floor { return &floor{value} }

func (f *floor) String() string { return *f.value }
func (f *floor) Type() string   { return "string" }

func (f *floor) Set(value string) error {
	if !floorPattern.MatchString(value) {
		return errors.New("want ids of rules joined by commas, such as BTN_0001,BTN_1*, or * for all")
	}
	*f.value = value
	return nil
}

// floorOf reports whether a rule is in the list; nil if the list is empty.
func floorOf(list string) func(ruleID string) bool {
	if list == "" {
		return nil
	}
	exact, beginnings := map[string]bool{}, []string(nil)
	for _, entry := range strings.Split(list, ",") {
		if beginning, is := strings.CutSuffix(entry, "*"); is {
			beginnings = append(beginnings, beginning)
		} else {
			exact[entry] = true
		}
	}
	return func(id string) bool {
		for _, b := range beginnings {
			if strings.HasPrefix(id, b) {
				return true
			}
		}
		return exact[id]
	}
}
