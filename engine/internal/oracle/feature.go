package oracle

// A Feature is something of the policy language that can take part in an
// answer. A test that never meets one of them does not test it.
type Feature uint8

// The features.
const (
	AllowedByPrincipal    Feature = iota // a principal policy allowed
	DeniedByPrincipal                    // a principal policy denied
	AllowedByResource                    // a resource policy allowed
	DeniedByResource                     // a rule that denies did
	DeniedByConsent                      // an allowing rule of a consent scope did, since its condition does not hold
	DeniedAsUnlisted                     // a role policy did, which does not list the action
	DeniedByRoleCondition                // a role policy did, since a condition does not hold
	Undecided                            // no rule decided
	NoPolicy                             // no policy is about the request
	Failed                               // strict evaluation denied
	FailedInDerivedRole                  // likewise, for the condition of a derived role
	FailedAndFalse                       // lenient evaluation took an error for false
	FailedInRoleList                     // a derived role could not be told, under strict evaluation
	LaterRoleAllows                      // a role allowed after another was denied
	DecidedAbove                         // in a scope above the most specific
	ConsentPassedOn                      // an ALLOW in a consent scope went on to the parent
	PrincipalUndecided                   // rows of a principal policy matched and did not decide
	ScopeOfNoPolicy                      // the key of the answer names a policy that is not there
	ScopeSearched                        // lenient search went up from a scope without policies
	ScopeByDefault                       // a default scope was taken
	RoleInherited                        // a role had parents
	RoleInheritsItself                   // through a circle
	RolePoliciesCombined                 // several role policies narrowed one role
	DerivedRoleHeld                      // a rule applied because of a derived role
	DerivedRoleSilent                    // a derived role did not hold when first looked at
	DerivedRoleSpoke                     // and again
	DerivedRoleListed                    // the list of derived roles was not empty
	DerivedRoleByPattern                 // a rule's derived role held that is not listed, for a parent role that is a pattern
	RolesReadWhileListing                // a derived role's condition saw the scope below's
	RolesReadByPrincipal                 // a principal policy read derived roles, and got the error
	VariableNull                         // a failed variable was null while roles were listed
	VariableMissing                      // a failed variable was not there
	VariableImported                     // an exported variable was read
	ConstantImported                     // a policy saw exported constants
	OutputActivated                      // an output of a rule that held
	OutputNotMet                         // an output of a rule that did not hold
	OutputFailed                         // an output that is an error
	SchemaChecked                        // the policy has schemas
	SchemaIgnored                        // which were of no concern to the actions
	DeniedBySchema                       // attributes broke them
	features
)

var featureNames = [features]string{
	"allowed by a principal policy", "denied by a principal policy", "allowed by a resource policy", "denied by a resource policy",
	"denied in a consent scope", "denied as unlisted", "denied by the condition of a role policy", "undecided", "no policy",
	"failed", "failed in a derived role", "failed and false", "failed in the list of derived roles", "allowed by a later role",
	"decided above", "consent passed on", "principal policy undecided", "scope of no policy", "scope searched", "scope by default",
	"role inherited", "role inherits itself", "role policies combined", "derived role held", "derived role silent",
	"derived role spoke", "derived role listed", "derived role by pattern", "derived roles read while listing",
	"derived roles read by a principal policy", "variable null", "variable missing", "variable imported", "constant imported",
	"output activated", "output not met", "output failed", "schema checked", "schema ignored", "denied by schema",
}

// String gives the feature in words.
func (f Feature) String() string { return featureNames[f] }

// Features gives all features.
func Features() (out []Feature) {
	for f := range features {
		out = append(out, f)
	}
	return out
}
