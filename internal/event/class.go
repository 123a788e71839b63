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
	FileChange
	NetworkListen
	PrivilegeChange
	KernelChange
	classCount
)

// ClassInfo describes a class for rule validation, documentation and output.
type ClassInfo struct {
	Class    Class
	Name     string   // as in a rule's applies_to
	Alias    string   // other accepted name, or ""
	Category string   // ECS's event.category, see Event.ecs
	Types    []string // ECS's event.type, see Event.ecs
	Doc      string   // when it fires
}

var classTable = [classCount]ClassInfo{
	ClassUnknown: {Name: "unknown"},
	ProcessExec:  {Name: "process_exec", Alias: "command", Category: "process", Types: []string{"start"}, Doc: "A program image was executed."},
	ProcessExit:  {Name: "process_exit", Category: "process", Types: []string{"end"}, Doc: "A process ended, with all its threads."},
	FileOpen:     {Name: "file_open", Category: "file", Types: []string{"access"}, Doc: "A file was opened."},
	NetworkConnect: {Name: "network_connect", Category: "network", Types: []string{"connection", "start"},
		Doc: "A process asked to connect an IP socket to a peer, whether or not the peer answered."},
	FileChange: {Name: "file_change", Category: "file", Types: []string{"change"},
		Doc: "A file was to be created, removed, renamed or linked, or its mode, owner or size changed, and the kernel permitted it."},
	NetworkListen: {Name: "network_listen", Category: "network", Types: []string{"info"},
		Doc: "A process bound an IP socket to an address, made one listen, or accepted a connection."},
	PrivilegeChange: {Name: "privilege_change", Category: "process", Types: []string{"change"},
		Doc: "A process changed its user ids, group ids, capabilities or namespaces, took hold of another by ptrace, or mounted a file system."},
	KernelChange: {Name: "kernel_change", Category: "driver", Types: []string{"start"},
		Doc: "A kernel module, a BPF program or the kernel for a kexec was loaded."},
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
