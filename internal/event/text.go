package event

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Widths of the columns of text output.
const (
	severityWidth = 8  // "critical"
	ruleWidth     = 10 // "BT0001 v12"
	nameWidth     = 42
	attackWidth   = 9 // "T1059.004"
)

// SGR sequences of ECMA-48.
const (
	reset  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
)

// AppendText appends the detection as one line of text for people, without the
// newline that ends the line: time in the location of the event's time, severity,
// rule, name, techniques, process, and last the command line. Whatever is not
// printable is shown in Go's quoted form, so that nothing in an event can end the
// line, colour it or move the cursor. Colour it only for a terminal.
func (d *Detection) AppendText(dst []byte, colour bool) []byte {
	e := d.Event
	l := line{buf: dst, colour: colour}
	l.stamp(e.Time)
	l.rule(&d.Rule, d.Tags)
	l.known("state", d.State)
	l.word("pid", strconv.FormatUint(uint64(e.Process.PID), 10))
	l.word("user", e.User.label())
	if e.Parent.PID != 0 && e.Parent.Executable != "" {
		l.word("parent", e.Parent.Executable)
	}
	l.word("exe", e.Process.Executable)
	l.known("script", e.Process.Script)
	l.known("image", e.Process.image())
	l.ofClass(e)
	if cut := e.truncated(nil); len(cut) > 0 {
		l.word("truncated", strings.Join(cut, ","))
	}
	l.add(dim, []byte("cmd="))
	l.buf = appendTail(l.buf, e.Process.CommandLine)
	return l.buf
}

// rule appends the columns that say which rule, and how bad.
func (l *line) rule(r *Rule, tags []Tag) {
	l.column(severityColour(r.Severity), severityLabel(r.Severity), severityWidth)
	l.column(bold, string(appendTail(nil, r.ID))+" v"+strconv.Itoa(r.Version), ruleWidth)
	l.column("", string(appendTail(nil, r.Name)), nameWidth)
	l.column(cyan, techniques(tags), attackWidth)
}

// ofClass appends what only the event's class has.
func (l *line) ofClass(e *Event) {
	switch e.Class {
	case ProcessExit:
		if e.Exit.Signal != 0 {
			l.word("signal", strconv.FormatUint(uint64(e.Exit.Signal), 10))
		} else {
			l.word("exit", strconv.FormatUint(uint64(e.Exit.Code), 10))
		}
		l.word("ran", e.Exit.Runtime.Round(time.Millisecond).String())
	case FileOpen:
		l.word("file", e.File.Path)
		if how := e.File.how(); len(how) > 0 {
			l.word("open", strings.Join(how, ","))
		}
	case NetworkConnect:
		l.known("dst", e.Network.endpoint(e.Network.Destination, e.Network.Port))
	case FileChange:
		l.fileChange(e)
	case NetworkListen:
		l.networkListen(e)
	case PrivilegeChange:
		l.privilegeChange(e)
	case KernelChange:
		l.kernelChange(e)
	}
	if FilePathClaimed.In(e.Class) && e.File.PathClaimed {
		l.word("paths", "claimed")
	}
}

func techniques(tags []Tag) string {
	var ids []string
	for _, t := range tags {
		id := t.SubTechnique.ID
		if id == "" {
			id = t.Technique.ID
		}
		if id == "" {
			id = t.Tactic.ID
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return "-"
	}
	return string(appendWord(nil, strings.Join(ids, ",")))
}

// image says what is unusual about the image's file, "" if nothing is.
func (p *Process) image() string {
	switch {
	case p.ExecutableMemfd: // which never has a name
		return "memfd"
	case p.ExecutableDeleted:
		return "deleted"
	}
	return ""
}

func (u *User) label() string {
	id := strconv.FormatUint(uint64(u.ID), 10)
	if u.Name != "" {
		id = u.Name
	}
	if u.EffectiveID != u.ID {
		id += "(euid=" + strconv.FormatUint(uint64(u.EffectiveID), 10) + ")"
	}
	return id
}

func severityLabel(severity string) string {
	switch severity {
	case "":
		return "-"
	case "informational":
		return "info"
	}
	return string(appendWord(nil, severity))
}

func severityColour(severity string) string {
	switch severity {
	case "critical", "high":
		return red
	case "medium":
		return yellow
	}
	return ""
}

// line builds one line of text.
type line struct {
	buf    []byte
	colour bool
	begun  bool
}

// add appends text that is safe to print, after a space.
func (l *line) add(style string, text []byte) {
	if l.begun {
		l.buf = append(l.buf, ' ')
	}
	l.begun = true
	if l.colour && style != "" {
		l.buf = append(l.buf, style...)
		l.buf = append(l.buf, text...)
		l.buf = append(l.buf, reset...)
		return
	}
	l.buf = append(l.buf, text...)
}

// column appends text that is safe to print, filled up to width characters.
func (l *line) column(style, text string, width int) {
	l.add(style, []byte(text))
	for n := utf8.RuneCountInString(text); n < width; n++ {
		l.buf = append(l.buf, ' ')
	}
}

func (l *line) stamp(t time.Time) {
	l.add(dim, []byte(t.Format("2006-01-02 15:04:05.000")))
}

// word appends name=value.
func (l *line) word(name, value string) {
	l.add(dim, []byte(name+"="))
	l.buf = appendWord(l.buf, value)
}

// known appends name=value, but nothing if the value is not known.
func (l *line) known(name, value string) {
	if value != "" {
		l.word(name, value)
	}
}

// knownID is known for a number of which NoID means that it is not.
func (l *line) knownID(name string, value uint32) {
	if value != NoID {
		l.word(name, strconv.FormatUint(uint64(value), 10))
	}
}
