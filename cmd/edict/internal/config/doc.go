// Package config is the daemon's own configuration: its keys, their defaults,
// and reading them from a YAML file, the environment and the command line.
//
// What always holds here:
//
//  1. Every key has a default, so that no configuration is a configuration.
//  2. The command line outweighs the environment, which outweighs the file.
//  3. An unknown key and a value of the wrong type are errors that name the
//     place and the mend. None is ignored: a setting that does not act is worse
//     than one that is refused.
//     An unknown environment variable is the exception, since Kubernetes makes
//     such ones up; it is named to the caller.
//  4. A reference to an environment variable stands for one value. It never
//     brings in more YAML, and a variable that is not set is an error.
//  5. What loads without a diagnostic is of the right shape: addresses,
//     durations, names of headers, key sets.
package config
