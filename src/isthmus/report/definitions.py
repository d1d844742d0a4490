"""What every number of a report means, in words, and where it comes from."""

from __future__ import annotations

DEFINITIONS = {
    "Splits": (
        "Everything that is fitted (preparation, model, PCA, UMAP, probes) is fitted on the train samples; early "
        "stopping looks at the valid samples; every number is of the test samples unless it says otherwise."
    ),
    "Embedding": ("The posterior mean of every sample, computed deterministically. It is the same at every call."),
    "R² (reconstruction)": (
        "1 − Σ(x − x̂)² / Σ(x − m)², over observed entries, where m are the feature means of the train samples: 0 "
        "is as good as the train mean, 1 is exact, below 0 is worse than the mean. r2 sums over all entries; "
        "r2_sample is the mean over samples; r2_feature the mean over features, those without variance left out."
    ),
    "R² (published)": (
        "r2_paper measures each sample against its own mean over features. It flatters, since the profile of "
        "means alone scores high; it stands here only to compare with published values."
    ),
    "Pearson": (
        "pearson_feature: the correlation of x and x̂ over samples, averaged over features; pearson_sample: over "
        "features, averaged over samples."
    ),
    "MSE": ("Mean squared error over observed entries, in the units after preparation."),
    "AUC": (
        "Area under the receiver operating curve of a probe that is trained on the embedding of the train "
        "samples; with more than two classes, each against the rest, averaged over classes. 0.5 is chance, 1 is "
        "perfect."
    ),
    "R² (embedding)": (
        "For an annotation that is a number: the share of its variance on the test samples that a probe predicts."
    ),
    "Learners": (
        "logistic: logistic (for numbers: ridge) regression; svm: support vector machine with a Gaussian kernel; "
        "forest: random forest. Features are scaled by the train samples."
    ),
    "Baselines": (
        "PCA and UMAP with as many dimensions as the model has (PCA: at most as many as there are features and train "
        "samples), fitted on the same prepared train samples; random "
        "features: as many features drawn by chance, averaged over five draws; raw: all prepared features."
    ),
    "Difference and interval": (
        "The score of a representation minus that of PCA with the same learner on the same samples. On one test "
        "split the interval holds 95 % of resamples of the test samples; over folds it is the t interval "
        "corrected for overlapping training sets (Nadeau and Bengio 2003, "
        "https://doi.org/10.1023/A:1024068626366). An interval that holds 0 means that the data do not tell the "
        "two apart. p_adjusted is corrected for the number of comparisons (Holm)."
    ),
    "z-score": (
        "z = (θ − mean η) / sd η, where θ is the score of a representation and η are the scores of five draws of "
        "as many random features: how many standard deviations of chance draws it lies above them. With five "
        "draws the denominator is uncertain; read it as a rank, not as a test."
    ),
    "Silhouette, ARI, NMI": (
        "How well the classes of an annotation form clusters: mean silhouette width (−1..1), and the adjusted "
        "Rand index and normalised mutual information between classes and k-means clusters (1 is identical, ARI 0 "
        "is chance)."
    ),
    "kNN purity and batch mixing": (
        "Share of a sample's 15 nearest neighbours with its own class (1: all); normalised entropy of the "
        "neighbours' batches (1: well mixed)."
    ),
    "Translation": (
        "One modality predicted from another alone, on test samples that have both, in the units after preparation "
        "(counts as log(1 + count) at the typical library size). Beside the model: ridge regression with a penalty "
        "of its own for every principal component of the target, by leave-one-out, not below that of all together; the "
        "mean of the k nearest train samples in 50 principal components of the source, k by leave-one-out; the nearest "
        "one; the train mean."
    ),
    "R² within class": (
        "The same with the train mean of the sample's true class in the place of the train mean: 0 for a translator "
        "that recognises the class and knows nothing else. Label transfer: a classifier of measured train samples is "
        "shown the translated ones."
    ),
    "Predicted features": (
        "pearson_within: the correlation over test samples of true and predicted values, both centred by the class of "
        "the sample, mean over features. predicted: the share of features for which it beats that of predictions "
        "permuted within classes, at a false discovery rate of 5 % (Benjamini and Hochberg); over folds, the mean. Of "
        "pathways: the same for the means of their standardised members."
    ),
    "SSIM": (
        "Structural similarity of images, 7 x 7 windows, -1..1, 1 for equal images (Wang et al. 2004, "
        "https://doi.org/10.1109/TIP.2003.819861)."
    ),
    "Coverage and total correlation": (
        "Coverage: with b = floor(n^(1/d)) bins along each of d dimensions, the share of bins that hold a sample, mean "
        "over dimensions; joint: the share of all b^d cells. Total correlation: 1/2 (sum log C_jj - log det C) of the "
        "covariance C, in nats; 0 where dimensions are uncorrelated."
    ),
    "Fewer modalities": (
        "1 - |z_S - z|² / |z - m|², with z the embedding from all modalities, z_S that from some, m the train mean: 1 "
        "where nothing is lost, 0 where the mean is as good. AUC: a classifier of full train embeddings reads z_S."
    ),
    "Alignment": (
        "Each test sample embedded by one modality and by another. FOSCTTM: the share of samples closer than the true "
        "match (0 is perfect, 0.5 is chance). R@k: how often the match is among the k nearest; median rank of the "
        "match among n. Back: from the second modality to the first."
    ),
    "MIG, SAP, DCI": (
        "Against the known factors of a simulated cohort, 0..1: the gap between the best and the second dimension for "
        "each factor, in mutual information (MIG) and in prediction (SAP); whether a dimension speaks of one factor "
        "(disentanglement), a factor of one dimension (completeness), and how well all dimensions predict it "
        "(informativeness)."
    ),
    "Robustness": (
        "The embedding of the test samples over refits with other seeds, mean over pairs, 0..1: |Pearson| of named "
        "dimensions; of dimensions matched one to one; share of variance after the best rotation (Procrustes); linear "
        "CKA."
    ),
    "Harrell's and Uno's C": (
        "0..1, chance 0.5: share of pairs of samples, the earlier time of which is an event, that the predicted risk "
        "puts into the right order. Uno's weighs an event by 1/G(t−)², G being the Kaplan-Meier curve of the censoring "
        "of the train samples, and so does not depend on who was censored."
    ),
    "Brier score and AUC of survival": (
        "Brier: mean squared error of the predicted survival, weighed by 1/G, integrated over time; lower is better. "
        "AUC: those to whom the event has happened by a time against those to whom it has not."
    ),
    "Confounders": (
        "How well a fresh logistic (ridge) regression and a random forest find a site or another confounder in the "
        "embedding: AUC 0.5 (R² 0) is not at all. Fresh: cross-validated among the test samples. Labels: all sites "
        "together; the same predictions inside each site, mean over sites; at sites that the probe was not fitted on. "
        "Partial correlation: of a latent dimension with the one, the other held fixed, by least squares; for classes "
        "the multiple correlation, 0..1."
    ),
    "η²": ("Share of a latent dimension's variance that lies between the classes of the annotation (0..1)."),
    "Loss terms": (
        "Reconstruction: negative log-likelihood summed over observed features, averaged over samples, weighted "
        "so that modalities count equally. Divergence: nats, summed over latent dimensions, averaged over "
        "samples."
    ),
}
