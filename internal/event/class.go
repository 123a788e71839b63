package event

// Class says what kind of thing happened. It decides which fields an event
// carries and which slots of the kernel's tables its rules live in.
type Class uint8

// The event classes. The numbers are those of enum event_class in bpf/event.h.
const (
	ClassUnknown Class = iota
	ProcessExec
	ProcessExit
	FileOpen
	NetworkConnect
	classCount
)

// ClassInfo describes a class for rule validation, documentation and output.
type ClassInfo struct {
	Class    Class
	Name     string   // as in a rule's applies_to
	Alias    string   // other accepted name, or ""
	Category string   // ECS's event.category
	Types    []string // ECS's event.type
	Doc      string   // when it fires
}

var classTable = [classCount]ClassInfo{
	ClassUnknown: {Name: "unknown"},
	ProcessExec:  {Name: "process_exec", Alias: "command", Category: "process", Types: []string{"start"}, Doc: "A program image was executed."},
	ProcessExit:  {Name: "process_exit", Category: "process", Types: []string{"end"}, Doc: "A process ended, with all its threads."},
	FileOpen:     {Name: "file_open", Category: "file", Types: []string{"access"}, Doc: "A file was opened."},
	NetworkConnect: {Name: "network_connect", Category: "network", Types: []string{"connection", "start"},
		Doc: "A process asked to connect an IP socket to a peer, whether or not the peer answered."},
}

// Info returns the description of c, that of ClassUnknown if there is none.
func (c Class) Info() ClassInfo {
	if c >= classCount {
		c = ClassUnknown
	}
	info := classTable[c]
	info.Class = c
	return info
}

// String returns the name used in rule files, for example "process_exec".
func (c Class) String() string { return c.Info().Name }

// Classes lists every class, in numeric order.
func Classes() []Class {
	all := make([]Class, 0, classCount-1)
	for c := ClassUnknown + 1; c < classCount; c++ {
		all = append(all, c)
	}
	return all
}

// ParseClass returns the class with the given name or alias in a rule's
// applies_to.
func ParseClass(name string) (Class, bool) {
	for _, c := range Classes() {
		if info := c.Info(); name != "" && (info.Name == name || info.Alias == name) {
			return c, true
		}
	}
	return ClassUnknown, false
}
