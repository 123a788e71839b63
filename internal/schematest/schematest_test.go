package schematest

import "testing"

func TestYAML(t *testing.T) {
	s := Compile(t, []byte(`{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {"n": {"type": "integer"}, "d": {"pattern": "^2026-01-01$"}}, "additionalProperties": false}`))
	for document, valid := range map[string]bool{
		"n: 1": true, "{}": true, "n: x": false, "m: 1": false, "- 1": false, "n: [": false, "n: 1\nn: 2": false, "1: 2": false, "n: 2026-01-01": false, "d: 2026-01-01": true,
	} {
		if err := s.YAML([]byte(document)); (err == nil) != valid {
			t.Errorf("%q: %v, want valid to be %v", document, err, valid)
		}
	}
}
