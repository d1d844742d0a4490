"""Files to a cohort of several modalities and back, and its division into parts."""

import mudata

mudata.set_options(pull_on_update=False)  # obs columns stay unprefixed; the default of mudata 0.4
