package rules

// File is a parsed rule file.
type File struct {
	Path      string
	Documents []Document
	// Problems are those of the file as a whole, for example a syntax error
	// that ends it. Those of one document are in the document.
	Problems Problems
	// Complete is false if the end of the file was not reached, so that rules
	// which are not among Documents may still be meant to be there.
	Complete bool
}

// Document is one YAML document of a file: one rule, or what is wrong with it.
type Document struct {
	RuleID   string // "" if it could not be read
	Rule     *Rule  // nil if Problems has an error
	Problems Problems
	Pos      Position
}
