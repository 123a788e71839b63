package loader

import (
	"testing"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// The planner may make keys of every field that it says the kernel knows, and of
// no other. Strings and numbers are apart, since each has its own ways; the values of an
// enumerated field are known by number. No two fields of a class have the same one.
func TestKeyFieldsAreTheKernelFields(t *testing.T) {
	t.Parallel()
	taken := make(map[execKeyField][]event.FieldInfo)
	for _, info := range event.Fields() {
		field, ok := keyFields[info.Field]
		if ok != rules.KernelField(info.Field) {
			t.Errorf("%s: the planner says %v, the kernel's table %v", info.Name, !ok, ok)
		}
		if !ok {
			continue
		}
		for _, other := range taken[field] {
			for _, class := range info.Classes {
				if other.Field.In(class) {
					t.Errorf("%s and %s of %s have the same number %d", info.Name, other.Name, class, field)
				}
			}
		}
		taken[field] = append(taken[field], info)
		if text := field < execKeyFieldKEY_STRING_FIELDS; text != (info.Kind == event.String && info.Values == nil) {
			t.Errorf("%s is a %s, its number %d says otherwise", info.Name, info.Kind, field)
		}
	}
	for field := range execKeyFieldKEY_FIELDS {
		if _, ok := taken[field]; !ok {
			t.Errorf("no event field has the kernel's number %d", field)
		}
	}
}
