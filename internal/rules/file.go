package rules

// File is a parsed rule file.
type File struct {
	Path      string
	Documents []Document
	// Lists are those that the file defines, each name once. Those that are wrong say so.
	Lists []*List
	// Problems are those of the file as a whole, for example a syntax error
	// that ends it. Those of one document are in the document.
	Problems Problems
	// Complete is false if the end of the file was not reached, so that rules
	// which are not among Documents may still be meant to be there.
	Complete bool
}

// Document is one YAML document of a file that is no document of lists: one rule, or what is wrong with it.
type Document struct {
	RuleID   string // "" if it could not be read
	Rule     *Rule  // nil if Problems has an error
	Problems Problems
	Pos      Position
	// Uses are the lists that the document names, nil for a name that no list has. The rule is
	// compiled with these.
	Uses Lists
	// Misfits are those of them with values that the rule can't have, each with the first such.
	// Problems say so as well.
	Misfits map[string]Problem
}

// Outdated reports whether the documents use lists that are now other ones, so that the file
// is to be read again.
func (f *File) Outdated(now Lists) bool {
	for _, d := range f.Documents {
		for name, list := range d.Uses {
			if !list.Same(now[name]) {
				return true
			}
		}
	}
	return false
}
