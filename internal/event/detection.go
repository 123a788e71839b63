package event

import "math"

// Detection says that one rule version matched one event. It is complete when
// it is made, and nobody writes to it after that; its id stays the same however
// often it is encoded or sent.
type Detection struct {
	ID       string // see NewID
	Event    *Event
	Rule     Rule
	State    string // of the rule, if an operator has limited the tags' confidence: "clipped"; else ""
	Tags     []Tag
	Evidence []Field // fields to show beside those that every detection has
	Host     *Host   // nil if not known
}

// Rule is what a detection says about the rule that matched.
type Rule struct {
	ID          string
	Version     int
	Name        string
	Description string
	Severity    string // "informational", "low", "medium", "high", "critical"; "" if the rule does not say
	Hash        string // content hash, hexadecimal
}

// Tag is one MITRE ATT&CK tag of a detection.
type Tag struct {
	Tactic       Ref
	Technique    Ref
	SubTechnique Ref     // zero if the tag names none
	Confidence   float64 // 0 to 1
}

// Ref is the id and the name of an ATT&CK object. Name is "" if the catalogue
// does not hold the id.
type Ref struct {
	ID   string
	Name string
}

// Host describes the machine that an event happened on.
type Host struct {
	Hostname     string
	ID           string // machine id
	BootID       string
	Architecture string // as uname(2) gives it, for example "x86_64"
	OS           OS
}

// OS describes an operating system, with os-release(5)'s names where it has
// them.
type OS struct {
	Platform string // ID: "debian"
	Family   string // ID_LIKE's first word, or ID
	Name     string // NAME: "Debian GNU/Linux"
	Full     string // PRETTY_NAME
	Version  string // VERSION_ID: "12"
	Kernel   string // release of the kernel: "6.1.0-18-amd64"
}

// Confidence returns the highest confidence of the detection's tags. ok is false
// if it has none.
func (d *Detection) Confidence() (confidence float64, ok bool) { return confidenceOf(d.Tags) }

func confidenceOf(tags []Tag) (confidence float64, ok bool) {
	for _, t := range tags {
		confidence = max(confidence, clamp(t.Confidence))
	}
	return confidence, len(tags) > 0
}

// clamp keeps a confidence within 0 and 1, the range in which JSON can hold it.
func clamp(confidence float64) float64 {
	if math.IsNaN(confidence) {
		return 0
	}
	return min(max(confidence, 0), 1)
}

// severityScore gives event.severity, on the scale that Elastic uses for its own
// rules. ok is false if the rule does not say.
func severityScore(severity string) (score uint64, ok bool) {
	switch severity {
	case "informational":
		return 0, true
	case "low":
		return 21, true
	case "medium":
		return 47, true
	case "high":
		return 73, true
	case "critical":
		return 99, true
	}
	return 0, false
}

// truncated lists the fields of which the kernel captured a part only.
func (e *Event) truncated(dst []string) []string {
	for _, f := range []struct {
		cut  bool
		name Field
	}{
		{e.Process.ExecutableTruncated, ProcessExecutable},
		{e.Process.CommandLineTruncated, ProcessCommandLine},
		{e.Process.WorkingDirectoryTruncated, ProcessWorkingDirectory},
		{e.Parent.ExecutableTruncated, ProcessParentExecutable},
		{e.Parent.CommandLineTruncated, ProcessParentCommandLine},
		{e.File.PathTruncated, FilePath},
		{e.File.NewPathTruncated, FileNewPath},
	} {
		if f.cut {
			dst = append(dst, f.name.String())
		}
	}
	return dst
}
