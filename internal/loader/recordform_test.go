package loader

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"bittern/internal/event"
)

// recordTypes are what other builds have to understand of records, counters and books.
var recordTypes = []string{
	"record", "record_flag", "event_class", "counter", "namespace_kind",
	"file_operation", "network_operation", "privilege_operation", "kernel_operation",
}

// describe lists members and values, one a line. Those that only count the others are left out.
func describe(name string, t btf.Type, at uint32) (lines []string) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		for _, m := range t.Members {
			lines = append(lines, describe(name+"."+m.Name, m.Type, at+m.Offset.Bytes())...)
		}
	case *btf.Enum:
		for _, v := range t.Values {
			if !strings.HasSuffix(v.Name, "_COUNT") && !strings.HasSuffix(v.Name, "_KINDS") {
				lines = append(lines, fmt.Sprintf("%s %s %d", name, v.Name, v.Value))
			}
		}
	case *btf.Array:
		size, _ := btf.Sizeof(t)
		lines = append(lines, fmt.Sprintf("%s at %d, %d bytes", name, at, size))
	case *btf.Int:
		lines = append(lines, fmt.Sprintf("%s at %d, %d bytes", name, at, t.Size))
	default:
		lines = append(lines, fmt.Sprintf("%s is a %T", name, t))
	}
	return lines
}

// TestOtherBuildsUnderstandRecords compares what has ever been in a record with what is: it only grows, unless
// the format has another number. BITTERN_UPDATE_GOLDEN=1 adds what is new.
func TestOtherBuildsUnderstandRecords(t *testing.T) {
	var now []string
	for _, load := range []func() (*ebpf.CollectionSpec, error){loadExec, loadFile, loadChange, loadListen, loadPrivilege, loadKernelchange} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range recordTypes {
			if found, err := spec.Types.AnyTypeByName(name); err == nil {
				now = append(now, describe(name, found, 0)...)
			}
		}
	}
	for reason := range lossReasons {
		now = append(now, fmt.Sprintf("loss %s %d", reason, reason))
	}
	for _, f := range []event.Field{event.FileOperation, event.NetworkOperation, event.PrivilegeOperation, event.KernelOperation} {
		for i, value := range f.Info().Values {
			now = append(now, fmt.Sprintf("%s %s %d", f, value, i+1))
		}
	}
	slices.Sort(now)
	now = slices.Compact(now)
	path := filepath.Join("testdata", fmt.Sprintf("records-%d.golden", ownRecords.format))
	if os.Getenv("BITTERN_UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before := strings.Split(strings.TrimSuffix(string(golden), "\n"), "\n")
	for _, line := range before {
		if !slices.Contains(now, line) {
			t.Errorf("%q is not so any more: append instead, or raise RECORD_FORMAT", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(before, line) {
			t.Errorf("%q is new: BITTERN_UPDATE_GOLDEN=1 notes it for good", line)
		}
	}
}

func TestPinName(t *testing.T) {
	form := recordForm{format: 3, fixed: 400}
	if id, got, ok := pinned(form.pinName("00ff")); id != "00ff" || got != form || !ok {
		t.Errorf("got %q, %+v, %v", id, got, ok)
	}
	for _, name := range []string{"", "00ff", "00ff-1", "00ff-1-39", "00ff-x-400", "00ff-1-", "00ff-1-400-2"} {
		if _, form, ok := pinned(name); ok {
			t.Errorf("%q is read as %+v", name, form)
		}
	}
}
