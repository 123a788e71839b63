package schema

import (
	"slices"
	"strings"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// comparisons is a mapping of fields with modifiers to values. Editors offer its properties: each field alone, and with
// one way to compare. All other combinations are patterns.
func (b *builder) comparisons(fields []event.FieldInfo) *node {
	n := &node{
		Type: "object", MinProperties: 1, MaxProperties: rules.MaxEntries, AdditionalProperties: false,
		Properties: make(map[string]*node), PatternProperties: make(map[string]*node),
	}
	for _, f := range fields {
		for _, name := range fieldNamesOf(f) {
			n.Properties[name] = b.comparison(f, rules.ModifierInfo{})
			for _, m := range rules.Modifiers() {
				if m.Way && takes(f, m) {
					n.Properties[name+"|"+m.Name] = b.comparison(f, m)
				}
			}
		}
	}
	for _, way := range append([]rules.ModifierInfo{{}}, rules.Modifiers()...) {
		if !way.Way && way.Name != "" {
			continue
		}
		for _, more := range [][]string{{"cased"}, {"nocase"}, {"all"}, {"all", "cased"}, {"all", "nocase"}} {
			b.modified(n.PatternProperties, fields, way, more)
		}
	}
	return n
}

// modified adds the patterns of all fields that take a way to compare together with other modifiers, in any order.
func (b *builder) modified(to map[string]*node, fields []event.FieldInfo, way rules.ModifierInfo, more []string) {
	all, fold := slices.Contains(more, "all"), slices.Contains(more, "nocase")
	if way.Address && fold {
		return // addresses have no case
	}
	if way.Name != "" {
		more = append([]string{way.Name}, more...)
	}
	byOperand := make(map[string][]string)
	for _, f := range fields {
		if takes(f, way) {
			operand := b.operand(f, way.Name, all, fold).Ref
			byOperand[operand] = append(byOperand[operand], fieldNamesOf(f)...)
		}
	}
	for operand, names := range byOperand {
		to["^"+anyName(names)+`\|`+anyName(orders(more))+"$"] = &node{Ref: operand}
	}
}

// orders joins the words in each order.
func orders(words []string) []string {
	if len(words) == 1 {
		return words
	}
	var out []string
	for i, word := range words {
		for _, rest := range orders(slices.Delete(slices.Clone(words), i, i+1)) {
			out = append(out, word+"|"+rest)
		}
	}
	return out
}

// takes reports whether a modifier is for the field.
func takes(f event.FieldInfo, m rules.ModifierInfo) bool {
	return f.Kind == event.String && (!m.Address || f.Address)
}

// comparison is what a field can be compared to in one way, or as a whole.
func (b *builder) comparison(f event.FieldInfo, way rules.ModifierInfo) *node {
	def := f.Name
	doc := f.Doc
	if way.Name != "" {
		def += ":" + way.Name
		doc += "\n" + way.Name + ": " + way.Doc
	}
	if b.defs[def] == nil {
		b.defs[def] = &node{Description: plain(doc), Ref: b.operand(f, way.Name, false, false).Ref}
	}
	return ref(def)
}

// operand is the value, or the list of values, that a field is compared to.
func (b *builder) operand(f event.FieldInfo, way string, all, fold bool) *node {
	name, one := b.one(f, way, fold)
	b.defs[name] = one
	b.defs["shared"] = sharedList()
	values := name + ".list"
	b.defs[values] = list(&node{AnyOf: []*node{ref(name), ref("shared")}})
	either := name + ".any"
	b.defs[either] = &node{AnyOf: []*node{ref(name), ref(values), ref("shared")}}
	several := name + ".all"
	b.defs[several] = &node{AnyOf: []*node{ref(values), ref("shared")}}
	if all {
		return ref(several)
	}
	return ref(either)
}

// one is a value that a field is compared to, with a name for it.
func (b *builder) one(f event.FieldInfo, way string, fold bool) (string, *node) {
	switch {
	case f.Kind == event.Bool:
		return "boolean", &node{Type: "boolean"}
	case f.Kind == event.Number:
		return numbers(f)
	case way == "re":
		return "pattern", patterns()
	case way == "cidr":
		return "network", &node{Type: "string", Pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$", PatternErrorMessage: "write a network such as '10.0.0.0/8'"}
	case way != "":
		return "part", &node{Type: "string", Pattern: `[^*]`, MaxLength: rules.MaxValueBytes, PatternErrorMessage: matchesAll}
	case f.Values != nil && fold:
		return f.Name + ".nocase", &node{Type: "string", Pattern: "^(" + strings.Join(anyCase(f.Values), "|") + ")$|" + wild, MaxLength: rules.MaxValueBytes}
	case f.Values != nil:
		return f.Name + ".value", &node{AnyOf: []*node{enumerated(f), {Type: "string", Pattern: wild, MaxLength: rules.MaxValueBytes}}}
	case f.Address:
		return "address", &node{Type: "string", Pattern: address + "|" + wild, MaxLength: rules.MaxValueBytes, PatternErrorMessage: "write an IP address; of a network: field|cidr"}
	}
	return "text", &node{Type: "string", Pattern: `^$|[^*]`, MaxLength: rules.MaxValueBytes, PatternErrorMessage: matchesAll}
}

const (
	wild       = `\?|[^*]\*|\*[^*]` // a text with wildcards, and not of stars only
	matchesAll = "it matches every value: leave the key out"
	address    = `^[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*$`
)

// anyCase returns patterns that match texts in any case.
func anyCase(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		for _, c := range text {
			if lower, upper := strings.ToLower(string(c)), strings.ToUpper(string(c)); lower != upper {
				out[i] += "[" + lower + upper + "]"
			} else {
				out[i] += string(c)
			}
		}
	}
	return out
}

func patterns() *node {
	return &node{Type: "string", MinLength: 1, MaxLength: rules.MaxValueBytes}
}

// enumerated is one of the values of a field.
func enumerated(f event.FieldInfo) *node {
	n := &node{Type: "string", Enum: f.Values}
	for _, doc := range f.ValueDocs {
		n.EnumDescriptions = append(n.EnumDescriptions, plain(doc))
	}
	return n
}

// numbers is a number that a field can have, with or without quotes.
func numbers(f event.FieldInfo) (string, *node) {
	least, most := uint64(0), uint64(0)
	if !f.Field.Holds(0) {
		least = 1
	}
	for bit := 63; bit >= 0; bit-- {
		if with := most | 1<<bit; f.Field.Holds(with) {
			most = with
		}
	}
	return f.Name + ".number", &node{AnyOf: []*node{
		{Type: "integer", Minimum: least, Maximum: most},
		{Type: "string", Pattern: "^(0|[1-9][0-9]*)$"},
	}}
}

// example is the event of a test, whatever its class.
func (b *builder) example() *node {
	if b.defs["example"] == nil {
		n := &node{Type: "object", MinProperties: 1, MaxProperties: rules.MaxEntries, Properties: make(map[string]*node), AdditionalProperties: false}
		for _, f := range event.Fields() {
			value := b.exampleValue(f)
			value.Description = plain(f.Doc)
			for _, name := range fieldNamesOf(f) {
				n.Properties[name] = value
			}
		}
		b.defs["example"] = n
	}
	return ref("example")
}

// exampleValue is what a field can be in an event.
func (b *builder) exampleValue(f event.FieldInfo) *node {
	one := &node{Type: "string", MaxLength: rules.MaxTextBytes}
	switch {
	case f.Kind != event.String:
		name, value := b.one(f, "", false)
		b.defs[name] = value
		return ref(name)
	case f.Values != nil:
		one = enumerated(f)
	case f.Address:
		one.Pattern = address
	}
	if !f.Many {
		return one
	}
	many := list(one)
	if strings.HasSuffix(f.Name, ".executable") || strings.HasSuffix(f.Name, ".name") {
		many.MaxItems = 2 // the resolved path and the invoked one
	}
	return &node{AnyOf: []*node{one, many}}
}
