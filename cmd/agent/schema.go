package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"bittern/internal/rules/schema"
)

const schemaLong = `Print a JSON Schema (draft 2020-12) of rule files. An editor that knows it, for example
by yaml-language-server, completes keys, event classes, fields and modifiers, shows
what each is, and marks what is wrong while a rule is written.

The schema refuses nothing that "bittern rules check" takes. That command sees more:
unknown names in conditions, bad regular expressions, ids that ATT&CK does not have.`

func newSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print a JSON Schema of rule files, for editors",
		Long:  schemaLong,
		Example: `  bittern rules schema > /etc/bittern/rule.schema.json
  # then, as the first line of a rule file:
  # yaml-language-server: $schema=/etc/bittern/rule.schema.json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			text, err := schema.JSON()
			if err != nil {
				return err
			}
			if _, err := a.out.Write(text); err != nil {
				return fmt.Errorf("writing the schema: %w", err)
			}
			return nil
		},
	}
}
