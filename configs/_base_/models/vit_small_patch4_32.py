# A small vision transformer on patches of 4x4 of a 32x32 image.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=192,
            num_layers=8,
            num_heads=3,
            feedforward_channels=768,
        ),
        img_size=32,
        patch_size=4,
        drop_rate=0.0,
    ),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=100,
        in_channels=192,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        # A head that starts at zero, the default, passes no gradient on:
        # nothing would rank the weights below it.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
)
