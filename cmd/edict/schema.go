package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"edict/cmd/edict/internal/schemas"
)

// newSchema is `edict schema`, which prints the JSON Schemas of the files that
// Edict reads.
func newSchema() *cobra.Command {
	var list bool
	var output string
	c := &cobra.Command{
		Use:   "schema KIND",
		Short: "Print the JSON Schema of a kind of file, for editors",
		Long: "Schema prints the JSON Schema of a kind of file that Edict reads: " + strings.Join(schemas.Names(), ", ") + ".\n" +
			"An editor with a YAML language server checks and completes a file that begins with\n" +
			"# yaml-language-server: $schema=PATH-OR-URL",
		Example: "  edict schema policy > policy.schema.json\n  edict schema --output schemas",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case (list || output != "") && len(args) > 0:
				if list {
					return fmt.Errorf("`%s --list` takes no KIND, got %q", c.CommandPath(), args[0])
				}
				return fmt.Errorf("--output names a folder for all schemas, and takes no KIND, got %q; one alone goes to a file by `%s %s > FILE`", args[0], c.CommandPath(), args[0])
			case list && output != "":
				return errors.New("--list and --output do not go together")
			case list || output != "":
				return nil
			case len(args) == 0:
				return fmt.Errorf("`%s` takes a KIND: %s", c.CommandPath(), strings.Join(schemas.Names(), ", "))
			case len(args) > 1:
				return fmt.Errorf("`%s` takes one KIND, got also %q", c.CommandPath(), args[1])
			}
			if _, ok := schemas.Schema(args[0]); !ok {
				return suggest(fmt.Errorf("there is no schema %q; known: %s", args[0], strings.Join(schemas.Names(), ", ")), args[0], schemas.Names())
			}
			return nil
		},
		ValidArgs: schemas.Names(),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			switch {
			case list:
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
				for _, k := range schemas.Kinds() {
					fmt.Fprintf(w, "%s\t%s\n", k.Name, k.For)
				}
				err = w.Flush()
			case output != "":
				err = writeSchemas(output)
			default:
				content, _ := schemas.Schema(args[0])
				_, err = c.OutOrStdout().Write(content)
			}
			if err != nil {
				return statusError{exitFailure, err}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&list, "list", false, "list the kinds of files")
	c.Flags().StringVarP(&output, "output", "o", "", "write all schemas to this folder, as KIND.schema.json")
	return c
}

// writeSchemas writes all schemas to a folder, which need not exist.
func writeSchemas(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, kind := range schemas.Names() {
		content, _ := schemas.Schema(kind)
		if err := os.WriteFile(filepath.Join(dir, schemas.FileName(kind)), content, 0o666); err != nil {
			return err
		}
	}
	return nil
}
