package event

import (
	"fmt"
	"slices"
	"strings"
)

// Strings appends the values of string field f to dst. A field with several
// values (FieldInfo.Many) appends each; one that is not known appends nothing.
func (e *Event) Strings(f Field, dst []string) []string {
	switch f {
	case ProcessExecutable:
		return appendKnown(dst, e.Process.Executable, e.Process.Invoked)
	case ProcessName:
		return appendKnown(dst, baseName(e.Process.Executable), baseName(e.Process.Invoked))
	case ProcessArgs:
		return append(dst, e.Process.Args...)
	case ProcessCommandLine:
		return append(dst, e.Process.CommandLine)
	case ProcessWorkingDirectory:
		return appendKnown(dst, e.Process.WorkingDirectory)
	case ProcessParentExecutable:
		return appendKnown(dst, e.Parent.Executable, e.Parent.Invoked)
	case ProcessParentName:
		return appendKnown(dst, baseName(e.Parent.Executable), baseName(e.Parent.Invoked))
	case ProcessParentCommandLine:
		return append(dst, e.Parent.CommandLine)
	case UserName:
		return appendKnown(dst, e.User.Name)
	case ProcessScript:
		return appendKnown(dst, e.Process.Script)
	case FieldContainerID:
		return appendKnown(dst, e.ContainerID)
	case FileOperation, NetworkOperation, PrivilegeOperation, KernelOperation:
		return appendKnown(dst, e.Operation)
	case FilePath, FileName, FileNewPath, FileTargetPath:
		return appendKnown(dst, e.File.text(f))
	case SourceIP, DestinationIP, NetworkTransport, NetworkType:
		return appendKnown(dst, e.Network.text(f))
	case PrivilegeCapabilities:
		return appendBits(dst, e.Privilege.Capabilities, capabilities)
	case PrivilegeNamespaces:
		return appendBits(dst, uint64(e.Privilege.Namespaces), namespaces)
	case PrivilegeTargetExecutable, MountSource, MountType:
		return appendKnown(dst, e.Privilege.text(f))
	case KernelName, KernelType:
		return appendKnown(dst, e.Kernel.text(f))
	}
	return dst
}

// Number returns the value of a number field, or of a boolean one as 0 or 1.
// ok is false if the value is not known, and if f is a string field.
func (e *Event) Number(f Field) (value uint64, ok bool) {
	switch f {
	case ProcessPID:
		return uint64(e.Process.PID), true
	case ProcessParentPID:
		return uint64(e.Parent.PID), true
	case ProcessArgsCount:
		return uint64(e.Process.ArgsCount), true
	case UserID:
		return uint64(e.User.ID), true
	case UserEffectiveID:
		return uint64(e.User.EffectiveID), true
	case GroupID:
		return uint64(e.User.GID), true
	case ProcessExecutableTruncated:
		return bit(e.Process.ExecutableTruncated), true
	case ProcessCommandLineTruncated:
		return bit(e.Process.CommandLineTruncated), true
	case ProcessWorkingDirectoryTruncated:
		return bit(e.Process.WorkingDirectoryTruncated), true
	case ProcessParentExecutableTruncated:
		return bit(e.Parent.ExecutableTruncated), true
	case ProcessParentCommandLineTruncated:
		return bit(e.Parent.CommandLineTruncated), true
	case ProcessExitCode:
		return uint64(e.Exit.Code), true
	case ProcessExitSignal:
		return uint64(e.Exit.Signal), true
	case ProcessExecutableDeleted:
		return bit(e.Process.ExecutableDeleted), true
	case ProcessExecutableMemfd:
		return bit(e.Process.ExecutableMemfd), true
	case DestinationPort:
		return uint64(e.Network.Port), true
	case SourcePort:
		return uint64(e.Network.SourcePort), true
	case PrivilegeTargetPID, UserChangesID, UserChangesEffectiveID, UserChangesGroupID:
		return e.Privilege.number(f)
	}
	return e.File.number(f)
}

// Set gives a field a value, to build events for rule tests. A process.name
// sets an executable of that name, a file.name a path, a network.type an address of
// that type if there is none; process.args also sets the command line and
// process.command_line the arguments, split at spaces; process.script is also what was
// invoked if nothing else is.
func (e *Event) Set(f Field, values ...string) error {
	info := f.Info()
	if info.Kind != String {
		return fmt.Errorf("setting %s: it is a %s", f, info.Kind)
	}
	if len(values) == 0 || (len(values) > 1 && !info.Many) {
		return fmt.Errorf("setting %s: want one value, have %d", f, len(values))
	}
	for _, value := range values {
		if info.Values != nil && !slices.Contains(info.Values, value) {
			return fmt.Errorf("setting %s: it can't be %q", f, value)
		}
	}
	switch f {
	case ProcessExecutable, ProcessName:
		return setImage(&e.Process, f, values)
	case ProcessParentExecutable, ProcessParentName:
		return setImage(&e.Parent, f, values)
	case ProcessArgs:
		setArgs(&e.Process, values, strings.Join(values, " "))
	case ProcessCommandLine:
		setArgs(&e.Process, strings.Split(values[0], " "), values[0])
	case ProcessParentCommandLine:
		setArgs(&e.Parent, strings.Split(values[0], " "), values[0])
	case ProcessWorkingDirectory:
		e.Process.WorkingDirectory = values[0]
	case UserName:
		e.User.Name = values[0]
	case ProcessScript:
		e.Process.Script = values[0]
		if e.Process.Invoked == "" {
			e.Process.Invoked = values[0]
		}
	case FieldContainerID:
		e.ContainerID = values[0]
	case FileOperation, NetworkOperation, PrivilegeOperation, KernelOperation:
		e.Operation = values[0]
	case FilePath, FileName, FileNewPath, FileTargetPath:
		e.File.setText(f, values[0])
	case SourceIP, DestinationIP, NetworkTransport, NetworkType:
		return e.Network.setText(f, values[0], e.Class)
	case PrivilegeCapabilities, PrivilegeNamespaces, PrivilegeTargetExecutable, MountSource, MountType:
		e.Privilege.setTexts(f, values)
	case KernelName, KernelType:
		e.Kernel.setText(f, values[0])
	default:
		return fmt.Errorf("setting %s: not supported in a test", f)
	}
	return nil
}

// SetNumber gives a number field (or a boolean one: 0 or 1) a value, to build
// events for rule tests.
func (e *Event) SetNumber(f Field, value uint64) error {
	switch f {
	case ProcessPID:
		e.Process.PID = uint32(value)
	case ProcessParentPID:
		e.Parent.PID = uint32(value)
	case ProcessArgsCount:
		e.Process.ArgsCount = uint32(value)
	case UserID:
		e.User.ID = uint32(value)
	case UserEffectiveID:
		e.User.EffectiveID = uint32(value)
	case GroupID:
		e.User.GID = uint32(value)
	case ProcessExecutableTruncated:
		e.Process.ExecutableTruncated = value != 0
	case ProcessCommandLineTruncated:
		e.Process.CommandLineTruncated = value != 0
	case ProcessWorkingDirectoryTruncated:
		e.Process.WorkingDirectoryTruncated = value != 0
	case ProcessParentExecutableTruncated:
		e.Parent.ExecutableTruncated = value != 0
	case ProcessParentCommandLineTruncated:
		e.Parent.CommandLineTruncated = value != 0
	case ProcessExitCode:
		e.Exit.Code = uint32(uint8(value)) // as wait(2) has room for
	case ProcessExitSignal:
		e.Exit.Signal = uint32(uint8(value) & 0x7f)
	case ProcessExecutableDeleted:
		e.Process.ExecutableDeleted = value != 0
	case ProcessExecutableMemfd:
		e.Process.ExecutableMemfd = value != 0
	case DestinationPort:
		e.Network.Port = uint16(value)
	case SourcePort:
		e.Network.SourcePort = uint16(value)
	case PrivilegeTargetPID, UserChangesID, UserChangesEffectiveID, UserChangesGroupID:
		return e.Privilege.setNumber(f, value)
	default:
		return e.File.setNumber(f, value)
	}
	return nil
}

// Holds reports whether a number field, or a boolean one, can have the value.
func (f Field) Holds(value uint64) bool {
	var e Event
	if err := e.SetNumber(f, value); err != nil {
		return false
	}
	back, ok := e.Number(f)
	return ok && back == value
}

func setArgs(p *Process, args []string, commandLine string) {
	p.Args, p.ArgsCount, p.CommandLine = args, uint32(len(args)), commandLine
}

func setImage(p *Process, f Field, values []string) error {
	if len(values) > 2 {
		return fmt.Errorf("setting %s: want the resolved and the invoked path, have %d values", f, len(values))
	}
	p.Executable, p.Invoked = values[0], values[len(values)-1]
	return nil
}

// appendKnown appends the values that are known, leaving out repeats.
func appendKnown(dst []string, values ...string) []string {
	for i, v := range values {
		if v == "" || (i > 0 && v == values[i-1]) {
			continue
		}
		dst = append(dst, v)
	}
	return dst
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// directory returns the path without its last component; "" if it has one only.
func directory(path string) string {
	slash := strings.LastIndexByte(path, '/')
	if slash == 0 {
		return "/"
	}
	return path[:max(slash, 0)]
}

// extension returns what follows the last dot of a file's name; "" if there is
// none, or only the one that hides the file.
func extension(name string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		return ""
	}
	return name[dot+1:]
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
