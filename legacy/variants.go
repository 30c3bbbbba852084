package legacy

import "encoding/json"

// The older typed events, by group and variant. Each holds the time in seconds
// that the old system put in it.

type (
	// AuthUserLogin is AuthEvent::UserLogin.
	//
	// Deprecated: emit a domain event of a kind such as "auth.user_login".
	AuthUserLogin struct {
		UserID    string `json:"user_id"`
		Timestamp uint64 `json:"timestamp"`
	}
	// AuthUserLogout is AuthEvent::UserLogout.
	//
	// Deprecated: emit a domain event of a kind such as "auth.user_logout".
	AuthUserLogout struct {
		UserID    string `json:"user_id"`
		Timestamp uint64 `json:"timestamp"`
	}
	// AuthFailure is AuthEvent::AuthFailure.
	//
	// Deprecated: emit a domain event of a kind such as "auth.auth_failure".
	AuthFailure struct {
		AttemptInfo string `json:"attempt_info"`
		Timestamp   uint64 `json:"timestamp"`
	}
	// AuthTokenRefresh is AuthEvent::TokenRefresh.
	//
	// Deprecated: emit a domain event of a kind such as "auth.token_refresh".
	AuthTokenRefresh struct {
		UserID    string `json:"user_id"`
		Timestamp uint64 `json:"timestamp"`
	}
	// AgentCreated is AgentEvent::Created.
	//
	// Deprecated: emit a domain event of a kind such as "agent.created".
	AgentCreated struct {
		AgentID   string `json:"agent_id"`
		AgentType string `json:"agent_type"`
		Timestamp uint64 `json:"timestamp"`
	}
	// AgentBeliefUpdated is AgentEvent::BeliefUpdated.
	//
	// Deprecated: emit a domain event of a kind such as "agent.belief_updated".
	AgentBeliefUpdated struct {
		AgentID     string  `json:"agent_id"`
		BeliefKey   string  `json:"belief_key"`
		Probability float64 `json:"probability"`
		Timestamp   uint64  `json:"timestamp"`
	}
	// AgentActionTriggered is AgentEvent::ActionTriggered.
	//
	// Deprecated: emit a domain event of a kind such as "agent.action_triggered".
	AgentActionTriggered struct {
		AgentID   string `json:"agent_id"`
		Action    string `json:"action"`
		Timestamp uint64 `json:"timestamp"`
	}
	// AgentPlanGenerated is AgentEvent::PlanGenerated.
	//
	// Deprecated: emit a domain event of a kind such as "agent.plan_generated".
	AgentPlanGenerated struct {
		AgentID   string `json:"agent_id"`
		Plan      string `json:"plan"`
		Timestamp uint64 `json:"timestamp"`
	}
	// AgentObservationProcessed is AgentEvent::ObservationProcessed.
	//
	// Deprecated: emit a domain event of a kind such as "agent.observation_processed".
	AgentObservationProcessed struct {
		AgentID        string `json:"agent_id"`
		ObservationKey string `json:"observation_key"`
		Timestamp      uint64 `json:"timestamp"`
	}
	// ToolInvoked is ToolEvent::Invoked.
	//
	// Deprecated: emit a domain event of a kind such as "tool.invoked".
	ToolInvoked struct {
		ToolName  string `json:"tool_name"`
		UserID    string `json:"user_id"`
		Timestamp uint64 `json:"timestamp"`
	}
	// ToolCompleted is ToolEvent::Completed.
	//
	// Deprecated: emit a domain event of a kind such as "tool.completed".
	ToolCompleted struct {
		ToolName   string `json:"tool_name"`
		UserID     string `json:"user_id"`
		DurationMS uint64 `json:"duration_ms"`
		Success    bool   `json:"success"`
		Timestamp  uint64 `json:"timestamp"`
	}
	// ToolError is ToolEvent::Error.
	//
	// Deprecated: emit a domain event of a kind such as "tool.error".
	ToolError struct {
		ToolName  string `json:"tool_name"`
		UserID    string `json:"user_id"`
		Error     string `json:"error"`
		Timestamp uint64 `json:"timestamp"`
	}
	// VaultSecretCreated is VaultEvent::SecretCreated.
	//
	// Deprecated: emit a domain event of a kind such as "vault.secret_created".
	VaultSecretCreated struct {
		VaultID   string `json:"vault_id"`
		SecretKey string `json:"secret_key"`
		Timestamp uint64 `json:"timestamp"`
	}
	// VaultSecretUpdated is VaultEvent::SecretUpdated.
	//
	// Deprecated: emit a domain event of a kind such as "vault.secret_updated".
	VaultSecretUpdated struct {
		VaultID   string `json:"vault_id"`
		SecretKey string `json:"secret_key"`
		Timestamp uint64 `json:"timestamp"`
	}
	// VaultSecretDeleted is VaultEvent::SecretDeleted.
	//
	// Deprecated: emit a domain event of a kind such as "vault.secret_deleted".
	VaultSecretDeleted struct {
		VaultID   string `json:"vault_id"`
		SecretKey string `json:"secret_key"`
		Timestamp uint64 `json:"timestamp"`
	}
	// VaultSecretAccessed is VaultEvent::SecretAccessed.
	//
	// Deprecated: emit a domain event of a kind such as "vault.secret_accessed".
	VaultSecretAccessed struct {
		VaultID   string `json:"vault_id"`
		SecretKey string `json:"secret_key"`
		UserID    string `json:"user_id"`
		Timestamp uint64 `json:"timestamp"`
	}
	// VaultUnlocked is VaultEvent::VaultUnlocked.
	//
	// Deprecated: emit a domain event of a kind such as "vault.vault_unlocked".
	VaultUnlocked struct {
		VaultID   string `json:"vault_id"`
		UserID    string `json:"user_id"`
		Timestamp uint64 `json:"timestamp"`
	}
)

func (AuthUserLogin) variant() (group, name string)        { return "Auth", "UserLogin" }
func (AuthUserLogout) variant() (group, name string)       { return "Auth", "UserLogout" }
func (AuthFailure) variant() (group, name string)          { return "Auth", "AuthFailure" }
func (AuthTokenRefresh) variant() (group, name string)     { return "Auth", "TokenRefresh" }
func (AgentCreated) variant() (group, name string)         { return "Agent", "Created" }
func (AgentBeliefUpdated) variant() (group, name string)   { return "Agent", "BeliefUpdated" }
func (AgentActionTriggered) variant() (group, name string) { return "Agent", "ActionTriggered" }
func (AgentPlanGenerated) variant() (group, name string)   { return "Agent", "PlanGenerated" }
func (AgentObservationProcessed) variant() (group, name string) {
	return "Agent", "ObservationProcessed"
}
func (ToolInvoked) variant() (group, name string)         { return "Tool", "Invoked" }
func (ToolCompleted) variant() (group, name string)       { return "Tool", "Completed" }
func (ToolError) variant() (group, name string)           { return "Tool", "Error" }
func (VaultSecretCreated) variant() (group, name string)  { return "Vault", "SecretCreated" }
func (VaultSecretUpdated) variant() (group, name string)  { return "Vault", "SecretUpdated" }
func (VaultSecretDeleted) variant() (group, name string)  { return "Vault", "SecretDeleted" }
func (VaultSecretAccessed) variant() (group, name string) { return "Vault", "SecretAccessed" }
func (VaultUnlocked) variant() (group, name string)       { return "Vault", "VaultUnlocked" }

// variants makes a value of each variant to decode into.
var variants = map[[2]string]func(json.RawMessage) (EventType, error){
	{"Auth", "UserLogin"}:             decode[AuthUserLogin],
	{"Auth", "UserLogout"}:            decode[AuthUserLogout],
	{"Auth", "AuthFailure"}:           decode[AuthFailure],
	{"Auth", "TokenRefresh"}:          decode[AuthTokenRefresh],
	{"Agent", "Created"}:              decode[AgentCreated],
	{"Agent", "BeliefUpdated"}:        decode[AgentBeliefUpdated],
	{"Agent", "ActionTriggered"}:      decode[AgentActionTriggered],
	{"Agent", "PlanGenerated"}:        decode[AgentPlanGenerated],
	{"Agent", "ObservationProcessed"}: decode[AgentObservationProcessed],
	{"Tool", "Invoked"}:               decode[ToolInvoked],
	{"Tool", "Completed"}:             decode[ToolCompleted],
	{"Tool", "Error"}:                 decode[ToolError],
	{"Vault", "SecretCreated"}:        decode[VaultSecretCreated],
	{"Vault", "SecretUpdated"}:        decode[VaultSecretUpdated],
	{"Vault", "SecretDeleted"}:        decode[VaultSecretDeleted],
	{"Vault", "SecretAccessed"}:       decode[VaultSecretAccessed],
	{"Vault", "VaultUnlocked"}:        decode[VaultUnlocked],
}
