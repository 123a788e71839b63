package rulestest

import (
	"fmt"
	"strings"

	"bittern/internal/event"
)

// Limits of what the kernel captures of a command line, in bytes.
const (
	maxCommandLine     = 4096 // of the program that process_exec is about
	maxKeptCommandLine = 1024 // of what is kept of a running program
)

// Event returns a process_exec event, see EventFor.
func (g *Generator) Event() *event.Event { return g.EventFor(event.ProcessExec) }

// EventFor returns an event of a class, which has the fields of that class and no
// others. Its strings hold any bytes but NUL, and each may be
// unknown (empty). A command line is its arguments joined by spaces, cut at the
// kernel's limits.
func (g *Generator) EventFor(class event.Class) *event.Event {
	ev := &event.Event{
		Class: class,
		User: event.User{
			ID: pick(g, uids), EffectiveID: pick(g, uids), GID: pick(g, uids), EffectiveGID: pick(g, uids),
		},
	}
	limit := maxKeptCommandLine
	if class == event.ProcessExec {
		limit = maxCommandLine
	}
	ev.Process = g.process(limit)
	g.image(&ev.Process)
	g.ofClass(ev)
	if class != event.ProcessExec {
		ev.Process.ArgsCount, ev.Process.WorkingDirectory, ev.Process.WorkingDirectoryTruncated = 0, "", false
	}
	if !g.oneIn(4) {
		ev.Parent = g.process(maxKeptCommandLine)
	} else {
		ev.Parent.ExecutableTruncated, ev.Parent.CommandLineTruncated = true, true
	}
	if g.oneIn(2) {
		ev.User.Name = pick(g, users)
	}
	if g.oneIn(2) {
		ev.CgroupPath = fmt.Sprintf(pick(g, containerGroups), pick(g, containerIDs))
		ev.ContainerID = event.ContainerID(ev.CgroupPath)
	}
	return ev
}

// image adds what is known of the image of the process that an event is about.
func (g *Generator) image(p *event.Process) {
	p.ExecutableDeleted, p.ExecutableMemfd = g.oneIn(6), g.oneIn(8)
	if g.oneIn(3) {
		p.Script = g.spoil(g.value(event.ProcessScript))
	}
	if p.Script != "" {
		p.Invoked = p.Script
	}
}

func (g *Generator) process(limit int) event.Process {
	p := event.Process{
		PID:                       uint32(g.between(1, 3)),
		Executable:                g.spoil(g.value(event.ProcessExecutable)),
		WorkingDirectory:          g.spoil(g.value(event.ProcessWorkingDirectory)),
		ExecutableTruncated:       g.oneIn(8),
		WorkingDirectoryTruncated: g.oneIn(8),
		Invoked:                   g.spoil(g.value(event.ProcessExecutable)),
	}
	if g.oneIn(2) {
		p.Invoked = p.Executable
	}
	for range g.between(0, 4) {
		p.Args = append(p.Args, g.spoil(g.value(event.ProcessArgs)))
	}
	p.ArgsCount = uint32(len(p.Args))
	p.CommandLine = strings.Join(p.Args, " ")
	if len(p.CommandLine) > limit {
		p.CommandLineTruncated = true
		p.CommandLine = p.CommandLine[:limit]
		p.Args = cutArguments(p.Args, limit)
	}
	return p
}

// cutArguments returns the arguments that are captured if their join is cut at
// limit bytes.
func cutArguments(args []string, limit int) []string {
	for i, arg := range args {
		if len(arg) >= limit {
			return append(args[:i:i], arg[:limit])
		}
		limit -= len(arg) + 1
	}
	return args
}

// spoil changes a value a little, now and then.
func (g *Generator) spoil(s string) string {
	switch g.rnd.IntN(12) {
	case 0:
		return ""
	case 1:
		return g.swapCase(s)
	case 2: // a byte that is not UTF-8, anywhere
		at := g.between(0, len(s))
		return s[:at] + pick(g, []string{"\xff", "\x80", "\xc3", "\xe2\x84"}) + s[at:]
	case 3:
		return s[:g.between(0, len(s))]
	case 4:
		return s[g.between(0, len(s)):]
	case 5:
		return s + pick(g, []string{"x", "/", " ", "\n"})
	case 6:
		return pick(g, []string{"x", "/", "-", "\n"}) + s
	}
	return s
}
