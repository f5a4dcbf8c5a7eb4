package folder

import "edict/engine/diag"

// The codes of what can be wrong with a folder.
const (
	// Unreadable occurs when a file, a folder or a link cannot be read.
	Unreadable diag.Code = "unreadable"

	// TooManyFolders occurs when folders are nested more than MaxDepth levels
	// deep, or there are more than MaxFolders.
	TooManyFolders diag.Code = "too-many-folders"

	// LinkLoop occurs when a link leads to a folder that holds it.
	LinkLoop diag.Code = "link-loop"
)

// The codes of what can be wrong with an archive in the place of a folder.
const (
	// NotAFolder occurs when a file that is no archive is named where a folder
	// should be.
	NotAFolder diag.Code = "not-a-folder"

	// BadArchive occurs when an archive is damaged.
	BadArchive diag.Code = "bad-archive"

	// BadArchiveEntry occurs when an entry of an archive leads out of it, is
	// there twice, or is neither a file nor a folder.
	BadArchiveEntry diag.Code = "bad-archive-entry"

	// ArchiveTooLarge occurs when an archive has more than MaxArchiveSize
	// bytes, packed or unpacked, or more than MaxArchiveEntries entries.
	ArchiveTooLarge diag.Code = "archive-too-large"
)
