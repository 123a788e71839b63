// Package attack is the catalogue of MITRE ATT&CK Enterprise: the ids, names
// and tactics of techniques, and what became of those that are gone. The data is
// compiled in; the program in generate made it.
package attack

import (
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

//go:generate go run ./generate -source ../../../shared/data -out data

// Notice is MITRE's copyright line, which goes with every copy of the data.
const Notice = "© 2025 The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation."

// The licence is embedded with the data, so that each copy of the binary holds
// both.
//
//go:embed data/attack.csv data/LICENSE.txt
var files embed.FS

// Status says whether an id is still in use.
type Status uint8

// The statuses. An id that the catalogue doesn't hold is Unknown.
const (
	Unknown    Status = iota
	Active            // in use
	Revoked           // replaced by another id
	Deprecated        // withdrawn without a replacement
)

// String returns the status in lower case.
func (s Status) String() string {
	switch s {
	case Active:
		return "active"
	case Revoked:
		return "revoked"
	case Deprecated:
		return "deprecated"
	}
	return "unknown"
}

// Tactic is one column of the ATT&CK matrix.
type Tactic struct {
	ID   string // "TA0002"
	Name string // "Execution"
}

// Technique is one technique or sub-technique.
type Technique struct {
	ID         string   // "T1059.004"
	Name       string   // "Unix Shell"
	Parent     string   // "T1059"; "" if it is no sub-technique
	Tactics    []string // ids
	Linux      bool     // MITRE lists Linux, or containers that run on it, among its platforms
	Status     Status
	ReplacedBy string // id to use instead; "" if there is none
}

// Catalogue is the whole of the data. It is immutable: callers must not change
// the slices that it hands out.
type Catalogue struct {
	version    string
	tactics    []Tactic
	techniques []Technique
	byID       map[string]int // index into techniques
}

// Load reads the data that is compiled in.
func Load() (*Catalogue, error) {
	f, err := files.Open("data/attack.csv")
	if err != nil {
		return nil, fmt.Errorf("loading the ATT&CK catalogue: %w", err)
	}
	defer f.Close()
	c, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("loading the ATT&CK catalogue: %w", err)
	}
	return c, nil
}

// Licence returns the terms under which MITRE grants the use of the data.
func Licence() (string, error) {
	text, err := files.ReadFile("data/LICENSE.txt")
	if err != nil {
		return "", fmt.Errorf("reading the ATT&CK licence: %w", err)
	}
	return string(text), nil
}

// Version returns the version of ATT&CK, for example "19.1".
func (c *Catalogue) Version() string { return c.version }

// Tactics lists every tactic, by id.
func (c *Catalogue) Tactics() []Tactic { return c.tactics }

// Techniques lists every technique and sub-technique, by id.
func (c *Catalogue) Techniques() []Technique { return c.techniques }

// Tactic returns the tactic with the given id.
func (c *Catalogue) Tactic(id string) (Tactic, bool) {
	for _, t := range c.tactics {
		if t.ID == id {
			return t, true
		}
	}
	return Tactic{}, false
}

// Technique returns the technique or sub-technique with the given id.
func (c *Catalogue) Technique(id string) (Technique, bool) {
	i, ok := c.byID[id]
	if !ok {
		return Technique{}, false
	}
	return c.techniques[i], true
}

// Check reports what became of the id of a tactic, technique or sub-technique,
// and the id that replaces it, or "".
func (c *Catalogue) Check(id string) (replacement string, status Status) {
	if t, ok := c.Technique(id); ok {
		return t.ReplacedBy, t.Status
	}
	if _, ok := c.Tactic(id); ok {
		return "", Active
	}
	return "", Unknown
}

// Records are told apart by their first field; see the generator.
const (
	versionRecord   = "version"
	tacticRecord    = "tactic"
	techniqueRecord = "technique"
)

func parse(r io.Reader) (*Catalogue, error) {
	c := &Catalogue{byID: make(map[string]int)}
	in := csv.NewReader(r)
	in.Comment = '#'
	in.FieldsPerRecord = -1
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return c, c.validate()
		}
		if err == nil {
			err = c.add(record)
		}
		if err != nil {
			line, _ := in.FieldPos(0)
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
}

func (c *Catalogue) add(record []string) error {
	switch {
	case record[0] == versionRecord && len(record) == 2:
		c.version = record[1]
	case record[0] == tacticRecord && len(record) == 3:
		c.tactics = append(c.tactics, Tactic{ID: record[1], Name: record[2]})
	case record[0] == techniqueRecord && len(record) == 7:
		t := Technique{ID: record[1], Name: record[2], Tactics: strings.Fields(record[3]), Linux: record[4] == "linux", ReplacedBy: record[6]}
		if parent, _, ok := strings.Cut(t.ID, "."); ok {
			t.Parent = parent
		}
		for _, s := range []Status{Active, Revoked, Deprecated} {
			if s.String() == record[5] {
				t.Status = s
			}
		}
		if t.Status == Unknown {
			return fmt.Errorf("%s has the unknown status %q", t.ID, record[5])
		}
		if _, ok := c.byID[t.ID]; ok {
			return fmt.Errorf("%s is there twice", t.ID)
		}
		c.byID[t.ID] = len(c.techniques)
		c.techniques = append(c.techniques, t)
	default:
		return fmt.Errorf("not a record: %q", record)
	}
	return nil
}

// validate checks that every id that is referred to is there.
func (c *Catalogue) validate() error {
	if c.version == "" || len(c.tactics) == 0 || len(c.techniques) == 0 {
		return errors.New("the data has no version, no tactics or no techniques")
	}
	for _, t := range c.techniques {
		for _, id := range t.Tactics {
			if _, ok := c.Tactic(id); !ok {
				return fmt.Errorf("%s names the unknown tactic %s", t.ID, id)
			}
		}
		for _, id := range []string{t.Parent, t.ReplacedBy} {
			if _, ok := c.byID[id]; id != "" && !ok {
				return fmt.Errorf("%s refers to the unknown technique %s", t.ID, id)
			}
		}
	}
	return nil
}
