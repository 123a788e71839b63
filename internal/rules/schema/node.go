package schema

// node is a part of a schema. The zero node permits everything. Keywords are of JSON Schema 2020-12, and of those only
// what editors with an older draft understand alike.
type node struct {
	Schema      string `json:"$schema,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Ref         string `json:"$ref,omitempty"`

	Type  any      `json:"type,omitempty"` // a string, or a list of them
	Const string   `json:"const,omitempty"`
	Enum  []string `json:"enum,omitempty"`
	// EnumDescriptions are no part of JSON Schema: editors show them beside the values.
	EnumDescriptions []string `json:"enumDescriptions,omitempty"`
	Pattern          string   `json:"pattern,omitempty"`
	// PatternErrorMessage is none either: editors show it instead of the pattern.
	PatternErrorMessage string `json:"patternErrorMessage,omitempty"`
	MinLength           int    `json:"minLength,omitempty"`
	MaxLength           int    `json:"maxLength,omitempty"` // in characters, of which the bytes that count are never fewer
	Minimum             any    `json:"minimum,omitempty"`
	Maximum             any    `json:"maximum,omitempty"`

	Items       *node `json:"items,omitempty"`
	Contains    *node `json:"contains,omitempty"`
	MinItems    int   `json:"minItems,omitempty"`
	MaxItems    int   `json:"maxItems,omitempty"`
	UniqueItems bool  `json:"uniqueItems,omitempty"`

	Properties           map[string]*node `json:"properties,omitempty"`
	PatternProperties    map[string]*node `json:"patternProperties,omitempty"`
	AdditionalProperties any              `json:"additionalProperties,omitempty"` // false, or a node
	PropertyNames        *node            `json:"propertyNames,omitempty"`
	Required             []string         `json:"required,omitempty"`
	MinProperties        int              `json:"minProperties,omitempty"`
	MaxProperties        int              `json:"maxProperties,omitempty"`

	AllOf []*node `json:"allOf,omitempty"`
	AnyOf []*node `json:"anyOf,omitempty"`
	OneOf []*node `json:"oneOf,omitempty"`
	Not   *node   `json:"not,omitempty"`
	If    *node   `json:"if,omitempty"`
	Then  *node   `json:"then,omitempty"`
	Else  *node   `json:"else,omitempty"`

	Defs map[string]*node `json:"$defs,omitempty"`
}

// ref refers to a definition.
func ref(name string) *node { return &node{Ref: "#/$defs/" + name} }
