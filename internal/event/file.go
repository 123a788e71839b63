package event

import "fmt"

// File is the file that was opened, changed or loaded.
type File struct {
	Path          string // as the process sees it; "" if not known
	PathTruncated bool
	PathClaimed   bool // the paths are what the process's memory said after the call, and not what the kernel acted on

	// file_open
	Read, Write bool
	Create      bool // it was to be created if it did not exist
	Truncate    bool // it was to be emptied

	// file_change
	NewPath          string // rename, link: what it is called afterwards
	NewPathTruncated bool
	TargetPath       string // symlink: what it points to, as written
	Mode             uint32 // permission bits 07777 after create, mkdir, chmod
	ModeKnown        bool
	UID, GID         uint32 // after chown; NoID if not changed or not known
}

var fileOperations = []string{"create", "mkdir", "unlink", "rmdir", "rename", "link", "symlink", "chmod", "chown", "truncate"}

// fileOperationDocs say what each operation is, and which fields it has.
var fileOperationDocs = []string{
	"a file or another node is made: `file.path`, `file.mode.*`",
	"a directory is made: `file.path`, `file.mode.*`",
	"a name is taken away: `file.path`",
	"a directory is removed: `file.path`",
	"a file gets another name; of two files that are swapped (`RENAME_EXCHANGE`), each gets the path of the other: `file.path`, `file.new_path`",
	"a file gets one more name: `file.path`, `file.new_path`",
	"a symbolic link is made: `file.path`, `file.target_path`",
	"permissions change: `file.path`, `file.mode.*`",
	"owner or group changes: `file.path`, `file.uid`, `file.gid`",
	"the size of a file is set: by truncate(2) or ftruncate(2), or to 0 by opening it with `O_TRUNC`, which is a `file_open` as well: `file.path`",
}

// modeBits says which permission bits a field of file.mode.* stands for. It is true
// if any of them is set.
func modeBits(f Field) uint32 {
	switch f {
	case FileModeSetuid:
		return 0o4000
	case FileModeSetgid:
		return 0o2000
	case FileModeExecutable:
		return 0o111
	case FileModeWorldWritable:
		return 0o002
	}
	return 0
}

func (f *File) text(field Field) string {
	switch field {
	case FilePath:
		return f.Path
	case FileName:
		return baseName(f.Path)
	case FileNewPath:
		return f.NewPath
	case FileTargetPath:
		return f.TargetPath
	}
	return ""
}

func (f *File) setText(field Field, value string) {
	switch field {
	case FilePath, FileName:
		f.Path = value
	case FileNewPath:
		f.NewPath = value
	case FileTargetPath:
		f.TargetPath = value
	}
}

func (f *File) number(field Field) (value uint64, ok bool) {
	switch field {
	case FileUID:
		return uint64(f.UID), f.UID != NoID
	case FileGID:
		return uint64(f.GID), f.GID != NoID
	case FileModeSetuid, FileModeSetgid, FileModeExecutable, FileModeWorldWritable:
		return bit(f.Mode&modeBits(field) != 0), f.ModeKnown
	}
	if flag := f.flag(field); flag != nil {
		return bit(*flag), true
	}
	return 0, false
}

func (f *File) setNumber(field Field, value uint64) error {
	switch field {
	case FileUID:
		f.UID = uint32(value)
	case FileGID:
		f.GID = uint32(value)
	case FileModeSetuid, FileModeSetgid, FileModeExecutable, FileModeWorldWritable:
		f.Mode &^= modeBits(field)
		if value != 0 {
			f.Mode |= modeBits(field)
		}
		f.ModeKnown = true
	default:
		flag := f.flag(field)
		if flag == nil {
			return fmt.Errorf("setting %s: not a number", field)
		}
		*flag = value != 0
	}
	return nil
}

// flag returns the place of a boolean field, nil if the file has none for it.
func (f *File) flag(field Field) *bool {
	switch field {
	case FilePathTruncated:
		return &f.PathTruncated
	case FilePathClaimed:
		return &f.PathClaimed
	case FileNewPathTruncated:
		return &f.NewPathTruncated
	case FileOpenRead:
		return &f.Read
	case FileOpenWrite:
		return &f.Write
	case FileOpenCreate:
		return &f.Create
	case FileOpenTruncate:
		return &f.Truncate
	}
	return nil
}

// how names the ways in which the file was opened.
func (f *File) how() []string {
	var words []string
	for _, w := range []struct {
		is   bool
		name string
	}{{f.Read, "read"}, {f.Write, "write"}, {f.Create, "create"}, {f.Truncate, "truncate"}} {
		if w.is {
			words = append(words, w.name)
		}
	}
	return words
}

// mode is the permission bits as ECS has them, for example "4755"; "" if not known.
func (f *File) mode() string {
	if !f.ModeKnown {
		return ""
	}
	return fmt.Sprintf("%04o", f.Mode&0o7777)
}

func appendFile(w *writer, e *Event) {
	if !FilePath.In(e.Class) {
		return
	}
	f := &e.File
	w.object("file", "file.", func() {
		name := baseName(f.Path)
		w.text("path", f.Path)
		w.text("name", name)
		w.text("directory", directory(f.Path))
		w.text("extension", extension(name))
		if e.Class != FileChange {
			return
		}
		w.text("target_path", f.TargetPath)
		w.text("mode", f.mode())
		w.knownID("uid", f.UID)
		w.knownID("gid", f.GID)
	})
}

// fileChange appends what was done to the file of a file_change.
func (l *line) fileChange(e *Event) {
	f := &e.File
	l.known("change", e.Operation)
	l.known("file", f.Path)
	l.known("new", f.NewPath)
	l.known("target", f.TargetPath)
	l.known("mode", f.mode())
	l.knownID("uid", f.UID)
	l.knownID("gid", f.GID)
}
