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
	ProcessScript
	ProcessExecutableDeleted
	ProcessExecutableMemfd
	FieldContainerID // ContainerID is a function
	FilePathClaimed
	FileOperation
	FileNewPath
	FileNewPathTruncated
	FileTargetPath
	FileModeSetuid
	FileModeSetgid
	FileModeExecutable
	FileModeWorldWritable
	FileUID
	FileGID
	NetworkOperation
	SourceIP
	SourcePort
	PrivilegeOperation
	PrivilegeCapabilities
	PrivilegeNamespaces
	PrivilegeTargetPID
	PrivilegeTargetExecutable
	MountSource
	MountType
	UserChangesID
	UserChangesEffectiveID
	UserChangesGroupID
	KernelOperation
	KernelName
	KernelType
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
	Values  []string // all that a string can be, if it is enumerated; see Event.Codes
	// ValueDocs says what each of Values is, in the same order; nil if the values say it themselves.
	ValueDocs []string
	Many      bool    // has several values at once; a literal holds if any value matches
	Classes   []Class // event classes that carry it
	Doc       string  // what it is and when it is not known; sentences, with names in backticks
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
