package event

// Class says what kind of thing happened. It decides which fields an event
// carries and which slots of the kernel's tables its rules live in.
type Class uint8

// The event classes. The numbers are those of enum event_class in bpf/event.h.
const (
	ClassUnknown Class = iota
	ProcessExec        // a program image was executed
)

var classNames = [...]string{
	ClassUnknown: "unknown",
	ProcessExec:  "process_exec",
}

// String returns the name used in rule files, for example "process_exec".
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return classNames[ClassUnknown]
}

// Classes lists every class, in numeric order.
func Classes() []Class { return []Class{ProcessExec} }

// ParseClass returns the class with the given name in a rule's applies_to.
// "command" is an alias of "process_exec".
func ParseClass(name string) (Class, bool) {
	if name == "command" {
		return ProcessExec, true
	}
	for _, c := range Classes() {
		if c.String() == name {
			return c, true
		}
	}
	return ClassUnknown, false
}
