package report

import (
	"encoding/json"
	"io"
	"net/url"
	"path"
	"slices"

	"edict/engine/diag"
	"edict/engine/diag/catalogue"
)

// The parts of a SARIF 2.1.0 log that are written. See "Static Analysis Results
// Interchange Format (SARIF) Version 2.1.0", OASIS Standard.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string             `json:"id"`
		Short   *sarifText         `json:"shortDescription,omitempty"`
		Full    *sarifText         `json:"fullDescription,omitempty"`
		Help    *sarifText         `json:"help,omitempty"`
		HelpURI string             `json:"helpUri,omitempty"`
		Default *sarifRuleSettings `json:"defaultConfiguration,omitempty"`
	}
	sarifRuleSettings struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId,omitempty"`
		RuleIndex *int            `json:"ruleIndex,omitempty"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
		Related   []sarifLocation `json:"relatedLocations,omitempty"`
	}
	sarifLocation struct {
		ID       *int          `json:"id,omitempty"`
		Physical sarifPhysical `json:"physicalLocation"`
		Message  *sarifText    `json:"message,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI    string `json:"uri"`
		BaseID string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine   int        `json:"startLine"`
		StartColumn int        `json:"startColumn,omitempty"`
		Snippet     *sarifText `json:"snippet,omitempty"`
	}
)

const (
	sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

	// sourceRoot is what paths are relative to, as code scanning names the
	// root of the repository.
	sourceRoot = "%SRCROOT%"
)

// SARIF writes the diagnostics as one run of the tool edict. The error is that
// of w.
func SARIF(w io.Writer, list diag.List, version string, pages catalogue.Catalogue) error {
	run := sarifRun{
		Tool: sarifTool{sarifDriver{
			Name: "edict", Version: version, InformationURI: catalogue.BaseURL, Rules: []sarifRule{},
		}},
		ColumnKind: "unicodeCodePoints", // which is what a diagnostic's columns count
		Results:    []sarifResult{},
	}
	var codes []diag.Code
	for _, d := range list {
		if d.Code != "" {
			codes = append(codes, d.Code)
		}
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	for _, code := range codes {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule(code, pages))
	}
	for _, d := range list {
		result := sarifResult{RuleID: string(d.Code), Level: d.Severity.String(), Message: sarifText{Text: d.Message}}
		if d.Hint != "" {
			result.Message.Text += "\nhint: " + d.Hint
		}
		if i, found := slices.BinarySearch(codes, d.Code); found {
			result.RuleIndex = &i
		}
		if d.Pos.IsValid() {
			result.Locations = []sarifLocation{{Physical: physical(d.Pos, d.Source)}}
		}
		for i, r := range d.Related {
			if r.Pos.IsValid() {
				result.Related = append(result.Related, sarifLocation{
					ID: &i, Physical: physical(r.Pos, ""), Message: &sarifText{Text: r.Message},
				})
			}
		}
		run.Results = append(run.Results, result)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}})
}

func rule(code diag.Code, pages catalogue.Catalogue) sarifRule {
	r := sarifRule{ID: string(code)}
	if e, ok := pages.Entry(code); ok {
		r.Short = &sarifText{Text: e.Title}
		r.Full = &sarifText{Text: e.Means}
		r.Help = &sarifText{Text: e.Plain(), Markdown: e.Markdown()}
		r.HelpURI = e.URL()
		r.Default = &sarifRuleSettings{Level: e.Severity.String()}
	}
	return r
}

func physical(pos diag.Position, source string) sarifPhysical {
	p := sarifPhysical{Artifact: sarifArtifact{URI: (&url.URL{Path: pos.File}).EscapedPath(), BaseID: sourceRoot}}
	if path.IsAbs(pos.File) {
		p.Artifact = sarifArtifact{URI: (&url.URL{Scheme: "file", Path: pos.File}).String()}
	}
	if pos.Line > 0 {
		p.Region = &sarifRegion{StartLine: pos.Line, StartColumn: pos.Column}
		if source != "" {
			p.Region.Snippet = &sarifText{Text: source}
		}
	}
	return p
}
