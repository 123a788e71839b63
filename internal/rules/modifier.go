package rules

// ModifierInfo describes a modifier of a comparison, as in field|contains. All are for string fields, and none is
// given twice.
type ModifierInfo struct {
	Name    string
	Way     bool   // a way to compare: of these one at most
	Address bool   // for fields that are IP addresses only
	Doc     string // a sentence, with names in backticks
}

var modifierTable = []ModifierInfo{
	{Name: "contains", Way: true, Doc: "The value occurs somewhere in the field."},
	{Name: "startswith", Way: true, Doc: "The field starts with the value."},
	{Name: "endswith", Way: true, Doc: "The field ends with the value."},
	{Name: "re", Way: true, Doc: "The value is a regular expression in Go's syntax (RE2), which matches somewhere in the field."},
	{Name: "cidr", Way: true, Address: true, Doc: "The value is a network such as `10.0.0.0/8`, and the field an address in it."},
	{Name: "all", Doc: "Every value of the list must hold, not just one. A field with many values may satisfy each by another."},
	{Name: "cased", Doc: "Case counts: the default, for those who want to say so."},
	{Name: "nocase", Doc: "ASCII letters compare without case, other letters don't. Not with `cidr` or `cased`."},
}

// Modifiers lists the modifiers.
func Modifiers() []ModifierInfo { return modifierTable }

// modifierNamed looks a modifier up.
func modifierNamed(name string) (ModifierInfo, bool) {
	for _, m := range modifierTable {
		if m.Name == name {
			return m, true
		}
	}
	return ModifierInfo{}, false
}

func modifierNames() []string {
	names := make([]string, len(modifierTable))
	for i, m := range modifierTable {
		names[i] = m.Name
	}
	return names
}
