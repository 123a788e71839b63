// Command generate writes the reference of the rule language to a file.
package main

import (
	"fmt"
	"os"

	"bittern/internal/reference"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "generate: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the name of a file")
	}
	text, err := reference.Markdown()
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(text), 0o644)
}
