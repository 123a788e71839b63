package event

import "slices"

// Field identifies one field of an event that a rule can name. Its name is the
// Elastic Common Schema (ECS) name, see FieldInfo.
type Field uint8

// The fields. Their order is of no consequence outside one build.
const (
	FieldInvalid Field = iota
	ProcessExecutable
	ProcessName
	ProcessArgs
	ProcessArgsCount
	ProcessCommandLine
	ProcessWorkingDirectory
	ProcessPID
	ProcessParentExecutable
	ProcessParentName
	ProcessParentCommandLine
	ProcessParentPID
	UserID
	UserEffectiveID
	UserName
	GroupID
	ProcessExecutableTruncated
	ProcessCommandLineTruncated
	ProcessWorkingDirectoryTruncated
	ProcessParentExecutableTruncated
	ProcessParentCommandLineTruncated
	ProcessExitCode
	ProcessExitSignal
	FilePath
	FileName
	FilePathTruncated
	FileOpenRead
	FileOpenWrite
	FileOpenCreate
	FileOpenTruncate
	DestinationIP
	DestinationPort
	NetworkTransport
	NetworkType
	fieldCount
)

// Kind is the type of a field's values.
type Kind uint8

// The kinds of field.
const (
	String Kind = iota + 1 // bytes, compared as such; not necessarily UTF-8
	Number                 // unsigned 64-bit integer
	Bool
)

// String returns "string", "number" or "boolean".
func (k Kind) String() string {
	switch k {
	case String:
		return "string"
	case Number:
		return "number"
	case Bool:
		return "boolean"
	}
	return "unknown"
}

// FieldInfo describes a field for rule validation, documentation and output.
type FieldInfo struct {
	Field   Field
	Name    string // ECS name, or Bittern's own where ECS has none
	Alias   string // other accepted name, or ""
	Kind    Kind
	Address bool     // a string that is an IP address, in its canonical form
	Values  []string // all that a string can be, if they are few
	Many    bool     // has several values at once; a literal holds if any value matches
	Classes []Class  // event classes that carry it
	Doc     string   // one sentence
}

// The classes that carry a field.
var (
	every = Classes()
	exec  = []Class{ProcessExec}
	exit  = []Class{ProcessExit}
	open  = []Class{FileOpen}
	conn  = []Class{NetworkConnect}
)

// The values of network.transport and network.type.
var (
	transports   = []string{"tcp", "udp"}
	networkTypes = []string{"ipv4", "ipv6"}
)

var fieldTable = [fieldCount]FieldInfo{
	ProcessExecutable: {Name: "process.executable", Kind: String, Many: true, Classes: every, Doc: "Path of the process's image: the resolved file, and the name it was invoked by."},
	ProcessName:       {Name: "process.name", Kind: String, Many: true, Classes: every, Doc: "Last path component of each value of process.executable."},
	ProcessArgs:       {Name: "process.args", Kind: String, Many: true, Classes: every, Doc: "Each argument, the program's own name first."},
	ProcessArgsCount:  {Name: "process.args_count", Kind: Number, Classes: exec, Doc: "Number of arguments given, the program's own name included."},
	ProcessCommandLine: {Name: "process.command_line", Alias: "command_text", Kind: String, Classes: every,
		Doc: "All arguments joined by single spaces: up to 4,096 bytes of a process_exec, of other classes as far as 1,024 bytes hold them and the process's paths."},
	ProcessWorkingDirectory: {Name: "process.working_directory", Kind: String, Classes: exec, Doc: "Working directory at the time of the event."},
	ProcessPID:              {Name: "process.pid", Kind: Number, Classes: every, Doc: "Process id in the initial pid namespace."},
	ProcessParentExecutable: {Name: "process.parent.executable", Kind: String, Many: true, Classes: every, Doc: "Path of the parent's image: the resolved file, and the name it was invoked by."},
	ProcessParentName:       {Name: "process.parent.name", Kind: String, Many: true, Classes: every, Doc: "Last path component of each value of process.parent.executable."},
	ProcessParentCommandLine: {Name: "process.parent.command_line", Kind: String, Classes: every,
		Doc: "The parent's arguments joined by single spaces, as far as 1,024 bytes hold them and the parent's paths."},
	ProcessParentPID: {Name: "process.parent.pid", Kind: Number, Classes: every, Doc: "Process id of the parent."},
	UserID:           {Name: "user.id", Kind: Number, Classes: every, Doc: "Real user id."},
	UserEffectiveID:  {Name: "user.effective.id", Kind: Number, Classes: every, Doc: "Effective user id."},
	UserName:         {Name: "user.name", Kind: String, Classes: every, Doc: "Name of the real user, looked up on this host."},
	GroupID:          {Name: "group.id", Kind: Number, Classes: every, Doc: "Real group id."},

	ProcessExecutableTruncated:        {Name: "process.executable.truncated", Kind: Bool, Classes: every, Doc: "The executable's path was too deep or too long to capture whole, or is not known."},
	ProcessCommandLineTruncated:       {Name: "process.command_line.truncated", Kind: Bool, Classes: every, Doc: "The arguments were longer than that, could not all be read, or are not known."},
	ProcessWorkingDirectoryTruncated:  {Name: "process.working_directory.truncated", Kind: Bool, Classes: exec, Doc: "The working directory's path was too deep or too long to capture whole."},
	ProcessParentExecutableTruncated:  {Name: "process.parent.executable.truncated", Kind: Bool, Classes: every, Doc: "The parent's executable path was not captured whole, or the parent is not known."},
	ProcessParentCommandLineTruncated: {Name: "process.parent.command_line.truncated", Kind: Bool, Classes: every, Doc: "The parent's arguments were longer than that, or are not known."},

	ProcessExitCode:   {Name: "process.exit_code", Kind: Number, Classes: exit, Doc: "Exit status, 0 to 255; 0 if a signal ended the process."},
	ProcessExitSignal: {Name: "process.exit_signal", Kind: Number, Classes: exit, Doc: "Number of the signal that ended the process, 0 if it ended by itself."},

	FilePath:          {Name: "file.path", Kind: String, Classes: open, Doc: "Path of the file as the process sees it, symbolic links resolved."},
	FileName:          {Name: "file.name", Kind: String, Classes: open, Doc: "Last path component of file.path."},
	FilePathTruncated: {Name: "file.path.truncated", Kind: Bool, Classes: open, Doc: "The file's path was too deep or too long to capture whole."},
	FileOpenRead:      {Name: "file.open.read", Kind: Bool, Classes: open, Doc: "The file was opened for reading."},
	FileOpenWrite:     {Name: "file.open.write", Kind: Bool, Classes: open, Doc: "The file was opened for writing."},
	FileOpenCreate:    {Name: "file.open.create", Kind: Bool, Classes: open, Doc: "The file was to be created if it did not exist (O_CREAT)."},
	FileOpenTruncate:  {Name: "file.open.truncate", Kind: Bool, Classes: open, Doc: "The file was to be emptied (O_TRUNC)."},

	DestinationIP: {Name: "destination.ip", Kind: String, Address: true, Classes: conn,
		Doc: "IP address of the peer in its canonical form, that of an IPv4-mapped IPv6 address being IPv4."},
	DestinationPort:  {Name: "destination.port", Kind: Number, Classes: conn, Doc: "Port of the peer."},
	NetworkTransport: {Name: "network.transport", Kind: String, Values: transports, Classes: conn, Doc: "Protocol above IP: tcp or udp; not known if it is another."},
	NetworkType:      {Name: "network.type", Kind: String, Values: networkTypes, Classes: conn, Doc: "Version of IP: ipv4 or ipv6."},
}

// Info returns the description of f; the zero FieldInfo if f is not a field.
func (f Field) Info() FieldInfo {
	if f == FieldInvalid || f >= fieldCount {
		return FieldInfo{}
	}
	info := fieldTable[f]
	info.Field = f
	return info
}

// String returns the field's ECS name.
func (f Field) String() string { return f.Info().Name }

// In reports whether events of class c carry the field.
func (f Field) In(c Class) bool { return slices.Contains(f.Info().Classes, c) }

// Fields lists every field in declaration order.
func Fields() []FieldInfo {
	all := make([]FieldInfo, 0, fieldCount)
	for f := FieldInvalid + 1; f < fieldCount; f++ {
		all = append(all, f.Info())
	}
	return all
}

// ParseField returns the field with the given ECS name or alias.
func ParseField(name string) (Field, bool) {
	for f := FieldInvalid + 1; f < fieldCount; f++ {
		if info := f.Info(); name != "" && (info.Name == name || info.Alias == name) {
			return f, true
		}
	}
	return FieldInvalid, false
}
