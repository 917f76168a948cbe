"""The studies: one module each, ``params -> list[RunSpec]``, the one place a study's design is written.

``STUDIES`` maps the name of a notebook to its params schema. Targets are imported only when asked for.
"""

from __future__ import annotations

STUDIES: dict[str, str] = {
    "00_tour": "itlib.studies.tour:TourParams",
    "base_model": "itlib.studies.base_model:BaseModelParams",
    "world": "itlib.studies.world:WorldParams",
    "elicitation": "itlib.studies.elicitation:ElicitationParams",
    "01_data_scaling": "itlib.studies.data_scaling:DataScalingParams",
    "01b_variety": "itlib.studies.variety:VarietyParams",
    "01c_composition": "itlib.studies.composition:CompositionParams",
    "01d_recipe": "itlib.studies.recipe:RecipeParams",
    "01e_efficiency": "itlib.studies.efficiency:EfficiencyParams",
    "02_data_selection": "itlib.studies.data_selection:DataSelectionParams",
    "02b_selectors": "itlib.studies.selector_arena:SelectorArenaParams",
    "02c_pools": "itlib.studies.pools:PoolsParams",
    "02d_sources": "itlib.studies.data_sources:DataSourcesParams",
    "02e_transfer": "itlib.studies.transfer:TransferParams",
    "02f_own_data": "itlib.studies.own_selection:OwnSelectionParams",
    "03_robustness": "itlib.studies.robustness:RobustnessParams",
    "03b_remedies": "itlib.studies.remedies:RemediesParams",
    "03c_decoding": "itlib.studies.decoding:DecodingParams",
    "03d_noise": "itlib.studies.noise:NoiseParams",
    "03e_following": "itlib.studies.following:FollowingParams",
    "03f_prompting": "itlib.studies.prompting:PromptingParams",
    "03g_own_scores": "itlib.studies.instruction_scores:InstructionScoresParams",
    "04_lora_vs_full": "itlib.studies.lora_vs_full:LoraVsFullParams",
    "04b_spectra": "itlib.studies.spectra_study:SpectraParams",
    "04c_methods": "itlib.studies.tuning_methods:TuningMethodsParams",
    "04d_continual": "itlib.studies.continual_study:ContinualParams",
    "04e_knowledge": "itlib.studies.knowledge:KnowledgeParams",
    "90_claims": "itlib.studies.claims_overview:ClaimsOverviewParams",
    "90b_verdict_rates": "itlib.studies.verdict_rates:VerdictRatesParams",
}
