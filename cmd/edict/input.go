package main

import (
	"fmt"
	"io"
	"os"
)

// readInput reads a file, or standard input for -, and gives its name in
// messages.
func readInput(in io.Reader, file string) (name string, content []byte, err error) {
	name = file
	if file == "-" {
		name = "standard input"
		content, err = io.ReadAll(in)
	} else {
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return name, nil, statusError{exitUsage, fmt.Errorf("%s can't be read: %w", name, err)}
	}
	return name, content, nil
}
