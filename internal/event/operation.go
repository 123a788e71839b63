package event

import "slices"

// ecs returns ECS's event.category and event.type: those of the class, unless the
// operation has its own.
func (e *Event) ecs() (category string, types []string) {
	info := e.Class.Info()
	switch e.Class {
	case FileChange:
		switch e.Operation {
		case "create", "mkdir", "symlink", "link":
			return info.Category, []string{"creation"}
		case "unlink", "rmdir":
			return info.Category, []string{"deletion"}
		}
	case NetworkListen:
		if e.Operation == "accept" {
			return info.Category, []string{"connection", "start"}
		}
	case KernelChange:
		if e.Operation == "kexec" { // it is no driver that will run
			return "host", []string{"change"}
		}
	}
	return info.Category, info.Types
}

// Codes appends the codes of an enumerated field's values to dst: the kernel knows
// such a field by the number of its value among FieldInfo.Values, from 1. It appends
// none if the value is not known, and several for a field that has many.
func (e *Event) Codes(f Field, dst []uint64) []uint64 {
	values := f.Info().Values
	if values == nil {
		return dst
	}
	var space [4]string
	for _, value := range e.Strings(f, space[:0]) {
		if i := slices.Index(values, value); i >= 0 {
			dst = append(dst, uint64(i)+1)
		}
	}
	return dst
}
